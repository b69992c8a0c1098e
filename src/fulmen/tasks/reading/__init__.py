"""Reading: the answer stands in a short text, or follows from two of its sentences, or is not there."""

from collections.abc import Callable
from functools import partial

from fulmen.tasks.reading.questions import KINDS
from fulmen.tasks.reading.reading_task import ReadingTask
from fulmen.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {
    "reading": ReadingTask,
    **{f"reading_{kind}": partial(ReadingTask, (kind,)) for kind in KINDS},
}
"""The tasks of this package by name: `reading` mixes the kinds of questions, the others hold one each."""
