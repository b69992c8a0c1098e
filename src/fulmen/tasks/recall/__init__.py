"""Recall: what was said once is asked later, over lengths from a hundred tokens to as many as one likes."""

from collections.abc import Callable
from functools import partial

from fulmen.tasks.recall.associative import AssociativeRecallTask
from fulmen.tasks.recall.recall_task import RecallTask
from fulmen.tasks.recall.repeat import RepeatTask
from fulmen.tasks.recall.turns import RecallOverTurnsTask
from fulmen.tasks.task import Task

_LENGTHS = (256, *(1024 * k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256)))

TASKS: dict[str, Callable[[], Task]] = {
    "associative_recall": AssociativeRecallTask,
    "repeat": RepeatTask,
    "recall_over_turns": RecallOverTurnsTask,
    **{RecallTask(length).name: partial(RecallTask, length) for length in _LENGTHS},
}
"""The tasks of this package by name; `recall_16k` has about 16,384 tokens, and so on."""
