"""Talk: courtesies, what spark is, can and can't do, a few facts of the world, and an honest word about the rest."""

from collections.abc import Callable

from fulmen.tasks.talk.talk_task import TalkTask
from fulmen.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {"talk": TalkTask}
"""The tasks of this package by name."""
