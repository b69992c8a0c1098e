"""Calling tools: which of the given ones fits the request, whether any does, and with which arguments."""

from collections.abc import Callable

from fulmen.tasks.calls.call_task import ToolCallTask
from fulmen.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {"tool_calls": ToolCallTask}
"""The tasks of this package by name."""
