"""The names of all tasks."""

import pytest

from fulmen.tasks.registry import TASKS, make_task


def test_tasks_are_called_what_the_registry_calls_them():
    assert {name: TASKS[name]().name for name in TASKS} == {name: name for name in TASKS}


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="'additoin'"):
        make_task("additoin")
