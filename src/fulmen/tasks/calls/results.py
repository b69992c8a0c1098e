"""Results of tools: after a call has been answered, say what the user wanted to know, or that it failed.

The conversation holds the request, the call as `cases` demonstrates it, and the tool's result; so an example trains the
call as well as what follows it.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fulmen.chat.message import Message
from fulmen.tasks.calls.cases import Turn, conversation
from fulmen.tasks.calls.requests import phrase_request
from fulmen.tasks.calls.situation import Offer, calling, draw_tools, draw_values, plain_values
from fulmen.tasks.calls.tools import InventedTool, labels
from fulmen.tasks.calls.values import KINDS, JsonValue
from fulmen.tasks.lexicon import random_source
from fulmen.tasks.task import Example, Score, Split
from fulmen.tasks.wording import says_only

_FIELD_KINDS = ("person", "place", "date", "time", "code", "count", "amount", "item", "email")
_QUESTIONS = ("What is the {}?", "Tell me the {}.", "I need the {}.", "Then give me the {}.", "I want to know the {}.")
_ERRORS = (
    "not found", "no permission", "timeout", "invalid input", "out of stock", "service is down", "limit reached",
    "already exists", "no connection", "unknown id", "access denied", "not available", "payment failed",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a tool returned and what is to be said of it.

    Example::

        Outcome(
            question="What is the price?",
            result='{"price": 12.5, "code": "K-702"}',
            thinking="price: 12.5",
            reply="The price is 12.5.",
            phrase="12.5",
            wrong=("K-702",),
        )
    """

    question: str
    """Asked together with the request; may be empty."""
    result: str
    thinking: str
    reply: str
    phrase: str
    """What a right reply says."""
    wrong: tuple[str, ...] = ()
    """What it doesn't say."""


class ToolResultTask:
    """Replies to the results of tools: a field that was asked for, the only field, a text, or a failure."""

    name = "tool_results"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            tools, tool = draw_tools(rng, split)
            offer = Offer.of(tools)
            yield conversation([result_turn(rng, split, tool, offer)], offer)

    def score(self, example: Example, reply: Message) -> Score:
        """1 for a reply in words that says what the result says, and no other value of it."""
        return score_outcome(example, reply)


def result_turn(rng: random.Random, split: Split, tool: InventedTool, offer: Offer) -> Turn:
    """A request for a tool, its call, the result, and the reply to that."""
    values = draw_values(rng, split, tool)
    (make_outcome,) = rng.choices(list(_OUTCOMES), list(_OUTCOMES.values()))
    outcome = make_outcome(rng, split)
    request = phrase_request(rng, split, tool, values)
    text = request.text
    if outcome.question:
        text += ("" if text.endswith((".", "?")) else ".") + f" {outcome.question}"
    return after_result(text, calling([offer.planned(tool.name, plain_values(values), request)]), outcome)


def score_outcome(example: Example, reply: Message) -> Score:
    """1 for a reply without a call that says the reference's phrase and nothing that would be wrong."""
    phrase, wrong = example.reference["phrase"], example.reference["wrong"]
    right = not reply.tool_calls and says_only(reply.content, phrase, wrong)
    return Score(value=float(right), why="" if right else f"no call, but {phrase!r} was expected, and none of {wrong}")


def after_result(text: str, call: Message, outcome: Outcome) -> Turn:
    """The turn that goes on after a call and its result."""
    return Turn(
        text=text,
        between=(call, Message(role="tool", content=outcome.result, tool_call_id=call.tool_calls[0].id)),
        reply=Message(role="assistant", thinking=outcome.thinking, content=outcome.reply),
        reference={"phrase": outcome.phrase, "wrong": list(outcome.wrong)},
    )


def _asked_field(rng: random.Random, split: Split) -> Outcome:
    fields = _draw_fields(rng, split, rng.randint(2, 4))
    label = rng.choice(list(fields))
    phrase = str(fields[label])
    return Outcome(
        question=rng.choice(_QUESTIONS).format(label.replace("_", " ")),
        result=json.dumps(fields),
        thinking=f"{label}: {phrase}",
        reply=f"The {label.replace('_', ' ')} is {phrase}.",
        phrase=phrase,
        wrong=tuple(str(value) for other, value in fields.items() if other != label),
    )


def _only_field(rng: random.Random, split: Split) -> Outcome:
    ((label, value),) = _draw_fields(rng, split, 1).items()
    label = rng.choice((label, label, "result"))
    value = "none" if rng.random() < 0.1 else value
    return Outcome(
        question="",
        result=json.dumps({label: value}),
        thinking=f"{label}: {value}",
        reply=f"The {label.replace('_', ' ')} is {value}.",
        phrase=str(value),
    )


def _absent_field(rng: random.Random, split: Split) -> Outcome:
    fields = _draw_fields(rng, split, rng.randint(2, 4))
    label = rng.choice(list(fields))
    del fields[label]
    return Outcome(
        question=rng.choice(_QUESTIONS).format(label.replace("_", " ")),
        result=json.dumps(fields),
        thinking=f"{label}: not there",
        reply=f"The result does not say the {label.replace('_', ' ')}.",
        phrase="does not say",
        wrong=tuple(map(str, fields.values())),
    )


def _plain_text(rng: random.Random, split: Split) -> Outcome:
    text = str(KINDS["text"].draw(rng, split).json)
    return Outcome(question="", result=text, thinking=f"result: {text}", reply=f"The result is: {text}.", phrase=text)


def _failure(rng: random.Random, split: Split) -> Outcome:
    error = rng.choice(_ERRORS)
    forms = (json.dumps({"error": error}), json.dumps({"status": "error", "message": error}), f"Error: {error}")
    asked = rng.choice(("", _asked_field(rng, split).question))
    return Outcome(
        question=asked,
        result=rng.choice(forms),
        thinking=f"error: {error}",
        reply=f"That did not work: {error}.",
        phrase=error,
    )


_OUTCOMES: Mapping[Callable[[random.Random, Split], Outcome], int] = {
    _asked_field: 45,
    _only_field: 20,
    _absent_field: 8,
    _plain_text: 10,
    _failure: 17,
}
"""What makes an outcome of each kind, and how many of a hundred it makes."""


def _draw_fields(rng: random.Random, split: Split, count: int) -> dict[str, JsonValue]:
    """Names and values of a result, no value twice and none a part of another, so that a wrong one can be told."""
    fields: dict[str, JsonValue] = {}
    while len(fields) < count:
        kind = rng.choice(_FIELD_KINDS)
        value = KINDS[kind].draw(rng, split).json
        label = rng.choice(labels(split)[kind])
        if not any(str(value) in str(other) or str(other) in str(value) for other in fields.values()):
            fields.setdefault(label, value)
    return fields
