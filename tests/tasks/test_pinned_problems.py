"""The held-out problems are those that the card's scores are of: whoever changes one must measure again.

`python tests/tasks/test_pinned_problems.py` writes held_out.json anew, once the scores are measured. Python 3.13 and
another pydantic, which describes built-in tools, draw the same problems as 3.11. Another reasoning-gym may draw others,
so its tasks are left out where it is not the one of the table.
"""

import hashlib
import itertools
import json
from importlib.metadata import version
from pathlib import Path

import pytest

from fulmen.tasks.registry import TASKS

TABLE = Path(__file__).with_name("held_out.json")
COUNT, SEED = 20, 1  # the seed of spark's evaluation


def fingerprint(name):
    """A hash of the first held-out problems of a task: all that a model is shown, and what is expected of it."""
    examples = itertools.islice(TASKS[name]().examples("test", SEED), COUNT)
    facts = [
        [[m.to_openai() for m in example.messages], [t.to_openai() for t in example.tools], example.reference]
        for example in examples
    ]
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8).hexdigest()


def test_the_table_has_every_task():
    assert json.loads(TABLE.read_text())["tasks"].keys() == TASKS.keys()


@pytest.mark.parametrize("name", TASKS)
def test_held_out_problems_are_those_that_were_measured(name):
    table = json.loads(TABLE.read_text())
    if name.startswith("gym_") and version("reasoning-gym") != table["reasoning-gym"]:
        pytest.skip(f"reasoning-gym draws these problems, and the ones measured are of {table['reasoning-gym']}")
    assert fingerprint(name) == table["tasks"][name], (
        f"the held-out problems of {name} have changed: the card's score of it is of others now and must be measured "
        f"again (fulmen eval spark --task {name}); then write the table anew, as this file begins"
    )


if __name__ == "__main__":
    prints = {name: fingerprint(name) for name in TASKS}
    TABLE.write_text(json.dumps({"reasoning-gym": version("reasoning-gym"), "tasks": prints}, indent=1) + "\n")
