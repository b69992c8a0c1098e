"""Calling tools: which of the given ones fits the request, whether any does, with which arguments, and what then."""

from collections.abc import Callable

from fulmen.tasks.calls.calculator import CalculatorTask
from fulmen.tasks.calls.call_task import ToolCallTask
from fulmen.tasks.calls.document_search import DocumentSearchTask
from fulmen.tasks.calls.results import ToolResultTask
from fulmen.tasks.calls.tool_choice import ToolChoiceTask
from fulmen.tasks.calls.tool_sessions import ToolSessionTask
from fulmen.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {
    "tool_calls": ToolCallTask,
    "tool_choice": ToolChoiceTask,
    "tool_results": ToolResultTask,
    "tool_sessions": ToolSessionTask,
    "calculator": CalculatorTask,
    "document_search": DocumentSearchTask,
}
"""The tasks of this package by name."""
