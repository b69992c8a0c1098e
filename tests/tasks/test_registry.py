"""The names of all tasks."""

import hashlib
import itertools
import os
import subprocess
import sys

import pytest

from fulmen.tasks.registry import TASKS, make_task

FINGERPRINTS = "import test_registry; print(test_registry.fingerprints())"


def fingerprints():
    """A hash of the first problems of each task, but for the ones of many thousand tokens."""
    prints = {}
    for name in TASKS:
        if not name.startswith("recall_"):
            examples = itertools.islice(TASKS[name]().examples("train", 7), 6)
            facts = repr([(e.messages, e.tools, e.reference, e.demonstration) for e in examples])
            prints[name] = hashlib.blake2b(facts.encode(), digest_size=6).hexdigest()
    return prints


def test_problems_are_the_same_in_every_process():
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FINGERPRINTS]
    other = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert other.stdout.strip().splitlines()[-1] == str(fingerprints())


def test_tasks_are_called_what_the_registry_calls_them():
    assert {name: TASKS[name]().name for name in TASKS} == {name: name for name in TASKS}


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="'additoin'"):
        make_task("additoin")
