"""`fulmen eval` as a user calls it, with a task whose answers are known."""

import itertools
import json
import sys

import pytest
from typer.testing import CliRunner

from fulmen.chat.message import Message
from fulmen.cli.app import app
from fulmen.tasks import gym, registry
from fulmen.tasks.task import Example, Score


class Shouting:
    """Long enough text is right, so that the tiny model scores; example 1 asks for more than it may write."""

    def __init__(self, name="shouting", padding=0):
        self.name, self.padding = name, padding

    def examples(self, split, seed):
        for number in itertools.count():
            question = Message(role="user", content=f"{split} {seed} {number}" + "x" * self.padding)
            reply = Message(role="assistant", content="A" * 10)
            yield Example(messages=(question,), reference=5 if number != 1 else 1000, demonstration=reply)

    def score(self, example, reply):
        return Score(value=float(len(reply.content) >= example.reference), parts={"some": float(bool(reply.content))})


@pytest.fixture(autouse=True)
def tasks(monkeypatch):
    monkeypatch.setattr(registry, "TASKS", {"shouting": Shouting, "long": lambda: Shouting("long", padding=3000)})


def run(*arguments):
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_tasks_are_listed_without_a_model():
    assert run("--list").stdout == "shouting\nlong\n"


def test_a_table_and_a_file(checkpoint, tmp_path):
    out = tmp_path / "results" / "scores.json"
    ask = (checkpoint, "--task", "shouting", "--limit", 4, "--seed", 9, "--max-tokens", 20, "--batch", 2)
    result = run(*ask, "--out", out)
    assert result.exit_code == 0, result.output
    [row] = [line for line in result.stdout.splitlines() if line.startswith("shouting")]
    assert row.split()[1:5] == ["0.750", "0.250", "0.750", "4"]
    facts = json.loads(out.read_text())
    assert (facts["model"], facts["settings"]["max_tokens"]) == ("tiny", 20)
    [task] = facts["tasks"]
    assert (task["mean"], task["parts"], task["mean_tokens"], task["cut"]) == (0.75, {"some": 1.0}, 20, 4)
    assert task["failures"][0]["messages"] == [{"role": "user", "content": "test 9 1"}]


def test_a_prompt_beyond_the_context_says_how_to_allow_it(checkpoint):
    ask = (checkpoint, "--task", "long", "--limit", 2, "--max-tokens", 8)
    refused = run(*ask)
    assert isinstance(refused.exception, ValueError)
    assert "task long: the prompt has" in str(refused.exception)
    assert "--max-context" in str(refused.exception)
    assert run(*ask, "--max-context", 4000).exit_code == 0
    both = run(*ask, "--task", "shouting")
    assert both.exit_code == 0, both.output
    assert "warning: left out task long: the prompt has" in both.stderr
    assert [line.split()[0] for line in both.stdout.splitlines()[2:]] == ["shouting"]


def test_a_seed_decides_what_is_sampled(checkpoint, tmp_path):
    def replies(seed):
        ask = (checkpoint, "--task", "shouting", "--limit", 2, "--max-tokens", 3, "--temperature", 1.0)
        result = run(*ask, "--seed", seed, "--out", tmp_path / "out.json")
        assert result.exit_code == 0, result.output
        return [failure["reply"] for failure in json.loads((tmp_path / "out.json").read_text())["tasks"][0]["failures"]]

    assert replies(1) == replies(1) != replies(2)


def test_without_reasoning_gym_nothing_is_evaluated(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(registry.TASKS, "gym_aiw", gym.TASKS["gym_aiw"])
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    result = run(checkpoint, "--limit", 1, "--out", tmp_path / "out.json")
    assert "gym_aiw needs the package reasoning-gym" in str(result.exception)
    assert not (tmp_path / "out.json").exists()


def test_what_is_missing_or_unknown_is_named(checkpoint):
    assert "MODEL is missing" in str(run().exception)
    assert "'shout'. Known tasks: shouting, long" in str(run(checkpoint, "--task", "shout").exception)
