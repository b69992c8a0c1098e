"""Every task by its name: the `TASKS` of the subpackages in one mapping."""

import importlib
import pkgutil
from collections.abc import Callable

import fulmen.tasks
from fulmen.tasks.task import Task


def _collect() -> dict[str, Callable[[], Task]]:
    """A subpackage or module of `fulmen.tasks` that has a `TASKS` of its own is in; a name given twice is refused."""
    tasks: dict[str, Callable[[], Task]] = {}
    for module in pkgutil.iter_modules(fulmen.tasks.__path__, "fulmen.tasks."):
        if module.name == __name__:
            continue
        own: dict[str, Callable[[], Task]] = getattr(importlib.import_module(module.name), "TASKS", {})
        if twice := sorted(tasks.keys() & own.keys()):
            raise ValueError(f"{module.name} has the task {twice[0]!r}, which another module has already")
        tasks |= own
    return dict(sorted(tasks.items()))


TASKS = _collect()
"""Task name to its constructor, in alphabetical order."""


def make_task(name: str) -> Task:
    """The task of this name; ValueError lists the names there are."""
    if name not in TASKS:
        raise ValueError(f"no task is called {name!r}. Known tasks: {', '.join(TASKS) or 'none'}")
    return TASKS[name]()
