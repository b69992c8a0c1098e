"""The task of choosing: call one of the given tools, call two, ask for what is missing, or call none."""

import json
from collections.abc import Iterator
from typing import Any

from fulmen.chat.message import Message
from fulmen.tasks.calls.cases import CASES, TRAINED_CASES
from fulmen.tasks.lexicon import random_source
from fulmen.tasks.task import Example, Score, Split
from fulmen.tasks.wording import says


class ToolCallTask:
    """Requests with 1 to 5 tools at hand; no tool or parameter of the test split is called as one in training."""

    name = "tool_calls"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        cases = CASES if split == "test" else TRAINED_CASES
        makers, weights = list(cases), list(cases.values())
        while True:
            yield rng.choices(makers, weights)[0](rng, split)

    def score(self, example: Example, reply: Message) -> Score:
        """1 for exactly the right calls, in any order, or for no call where none is due and the right words instead."""
        return score_calls(example, reply)


def score_calls(example: Example, reply: Message) -> Score:
    """1 for exactly the reference's calls; where it has none, for no call and one of its phrases in words."""
    expected: list[dict[str, Any]] = example.reference["calls"]
    decision = bool(expected) == bool(reply.tool_calls)
    if not expected:
        phrases = example.reference["phrases"]
        said = any(says(reply.content, phrase) for phrase in phrases)
        why = "" if decision and said else f"no call was due, but a reply with one of {phrases}"
        return Score(value=float(decision and said), parts={"decision": float(decision), "words": float(said)}, why=why)
    names = sorted(call.name for call in reply.tool_calls) == sorted(call["name"] for call in expected)
    written = sorted(_canonical(call.name, call.arguments) for call in reply.tool_calls)
    wanted = sorted(_canonical(call["name"], json.dumps(call["arguments"])) for call in expected)
    right = written == wanted
    parts = {"decision": float(decision), "name": float(names), "arguments": float(right)}
    return Score(value=float(right), parts=parts, why="" if right else f"{wanted} was expected, not {written}")


def _canonical(name: str, arguments: str) -> str:
    """Text that is the same for calls that are equal as JSON: keys sorted, 4.0 written as 4."""
    try:
        return json.dumps([name, _plain(json.loads(arguments))], sort_keys=True)
    except (ValueError, RecursionError):
        return f"{name} with what can't be read"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_plain(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
