"""Requests for the same tools, one after the other: schemas that are read once, and many choices to make with them."""

import random
from collections.abc import Iterator, Sequence

from fulmen.chat.message import Message, ToolSpec
from fulmen.tasks.calls.calculator import sum_turn
from fulmen.tasks.calls.call_task import score_calls
from fulmen.tasks.calls.cases import (
    Turn,
    call_turn,
    can_lack,
    conversation,
    incomplete_turns,
    refused_turn,
    small_talk_turn,
    twice_turn,
)
from fulmen.tasks.calls.document_search import document_turn
from fulmen.tasks.calls.results import result_turn
from fulmen.tasks.calls.situation import Offer, document_specs, draw_tools, like_built_in
from fulmen.tasks.calls.tools import InventedTool, draw_tool
from fulmen.tasks.lexicon import random_source
from fulmen.tasks.task import Example, Score, Split
from fulmen.tools.calculator import CALCULATOR

_MOST_TURNS = 8
_TURNS = {
    "call": 34, "answered": 13, "several": 10, "twice": 6, "refused": 9, "incomplete": 14, "talk": 4, "built_in": 10,
}  # fmt: skip
"""How many of a hundred turns want what; one that is built in only where it is given."""
_SEARCH, _READ = document_specs()
_BUILT_IN: tuple[list[ToolSpec], ...] = ([], [], [CALCULATOR], [_SEARCH, _READ], [CALCULATOR, _SEARCH, _READ])
_BUILT_IN_TURNS = {CALCULATOR.name: sum_turn, _SEARCH.name: document_turn}


class ToolSessionTask:
    """Several turns of a conversation with up to five tools, some built in: calls, some with their results, questions
    for what is missing, refusals.
    """

    name = "tool_sessions"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            tools, _ = draw_tools(rng, split, least=rng.randint(1, 5))
            built_in = [] if like_built_in(tools) else rng.choice(_BUILT_IN)
            offer = Offer.of(rng.sample([*tools, *built_in], len(tools) + len(built_in)))
            turns = list[Turn]()
            for _ in range(rng.randint(1, _MOST_TURNS - 1)):
                turns += _draw_turns(rng, split, tools, offer)
            yield conversation([*turns, _draw_turns(rng, split, tools, offer, last=True)[0]], offer)

    def score(self, example: Example, reply: Message) -> Score:
        """1 for exactly what the last turn wants, as `tool_calls` scores it."""
        return score_calls(example, reply)


def _draw_turns(
    rng: random.Random, split: Split, tools: Sequence[InventedTool], offer: Offer, *, last: bool = False
) -> Sequence[Turn]:
    """One turn, or a question for what is missing and the answer; the last one wants calls or refusals."""
    (kind,) = rng.choices(list(_TURNS), list(_TURNS.values()))
    lacking = [tool for tool in tools if can_lack(tool)]
    built_in = [_BUILT_IN_TURNS[spec.name] for spec in offer.specs if spec.name in _BUILT_IN_TURNS]
    if kind == "built_in" and built_in and not last:
        return [rng.choice(built_in)(rng, split, offer)]
    if kind == "talk":
        return [small_talk_turn(rng, split)]
    if kind == "refused":
        return [refused_turn(rng, split, _draw_other(rng, split, tools), offer)]
    if kind == "answered" and not last:
        return [result_turn(rng, split, rng.choice(tools), offer)]
    if kind == "incomplete" and lacking:
        return incomplete_turns(rng, split, rng.choice(lacking), offer)[: rng.choice((1, 1, 2))]
    if kind == "twice" and (turn := twice_turn(rng, split, rng.choice(tools), offer)):
        return [turn]
    return [call_turn(rng, split, rng.sample(tools, 2 if kind == "several" and len(tools) > 1 else 1), offer)]


def _draw_other(rng: random.Random, split: Split, tools: Sequence[InventedTool]) -> InventedTool:
    """A tool that none of the given ones stands in for, though one may resemble it."""
    while True:
        other = draw_tool(rng, split, near=rng.choice(tools) if rng.random() < 0.6 else None)
        if not any(other.name == tool.name or other.does_the_same_as(tool) for tool in tools):
            return other
