"""The situations in which tools are given: one is wanted, two are, one lacks an argument, or none fits."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fulmen.chat.message import Message
from fulmen.tasks.calls.requests import beginning, phrase_request, without_end
from fulmen.tasks.calls.situation import (
    Offer,
    PlannedCall,
    calling,
    chosen,
    considered,
    draw_tools,
    draw_values,
    plain_values,
    said,
    told,
)
from fulmen.tasks.calls.tools import InventedTool
from fulmen.tasks.calls.values import Value
from fulmen.tasks.talk.intents import draw_small_talk
from fulmen.tasks.task import Example, Split
from fulmen.tasks.working import add, subtract

_NO_TOOL_FITS = ("None of my tools can do that.", "I have no tool for that.", "No tool that I have can do that.")
_REFUSALS = ("none of my tools", "no tool")
_TWICE = ("place", "person", "code", "item")
"""Kinds of which a request may name two at once: "in Paris and Rome"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What a user says, the reply that is right, and what it is scored by.

    Example: `Turn(text="Book a table.", reply=reply, reference={"calls": [], "phrases": ["city"]})`.
    """

    text: str
    reply: Message
    reference: dict[str, Any]
    between: tuple[Message, ...] = ()
    """A call and its result, where the reply is to say what came of it."""

    @classmethod
    def calling(cls, text: str, calls: Sequence[PlannedCall]) -> "Turn":
        """The turn that wants these calls."""
        due = [{"name": call.tool.name, "arguments": call.arguments} for call in calls]
        return cls(text=text, reply=calling(calls), reference={"calls": due})


def conversation(turns: Iterable[Turn], offer: Offer) -> Example:
    """Turns one after the other; the last one is what is to be done."""
    *earlier, last = turns
    before = (message for turn in earlier for message in (*said(turn.text), *turn.between, turn.reply))
    return Example(
        messages=(*before, *said(last.text), *last.between),
        tools=offer.specs,
        reference=last.reference,
        demonstration=last.reply,
    )


def call_turn(rng: random.Random, split: Split, wanted: Sequence[InventedTool], offer: Offer) -> Turn:
    """A request for each of these tools, with all that they require."""
    calls = []
    for tool in wanted:
        values = draw_values(rng, split, tool)
        calls.append(offer.planned(tool.name, plain_values(values), phrase_request(rng, split, tool, values)))
    text, *more = (call.request.text for call in calls)
    for following in more:
        end = "" if text.endswith((".", "?")) else "."
        text += f"{end} {rng.choice(('', 'Also: ', 'And then: ', 'After that: ', 'Second: '))}{following}"
    return Turn.calling(text, calls)


def twice_turn(rng: random.Random, split: Split, tool: InventedTool, offer: Offer) -> Turn | None:
    """A request for two calls that differ in one value, in its order; None if the tool has no value of that kind."""
    values = draw_values(rng, split, tool)
    doubled = [p for p in tool.parameters if p.kind in _TWICE and p.name in values]
    if not doubled:
        return None
    parameter = rng.choice(doubled)
    one = two = parameter.draw(rng, split)
    while one == two:
        two = parameter.draw(rng, split)
    both = Value(json="", text=f"{one.text} and {two.text}")
    request = phrase_request(rng, split, tool, {**values, parameter.name: both})
    given = plain_values(values)
    calls = [offer.planned(tool.name, {**given, parameter.name: value.json}, request) for value in (one, two)]
    return Turn.calling(request.text, calls)


def incomplete_turns(rng: random.Random, split: Split, tool: InventedTool, offer: Offer) -> tuple[Turn, Turn]:
    """A request that leaves out one of what the tool `can_lack`, which is asked for; and the answer, with the call."""
    missing, values = rng.choice(can_lack(tool)), draw_values(rng, split, tool)
    given = {name: value for name, value in values.items() if name != missing}
    request = phrase_request(rng, split, tool, given)
    thoughts = considered([offer.planned(tool.name, plain_values(given), request)])
    label = missing.replace("_", " ")
    asking = _saying(request.text, thoughts, f"What {'are' if label.endswith('s') else 'is'} the {label}?", [label])
    form = rng.choice(("{value}", "{value}.", "{value}, please.", "It is {value}.", "The {label} is {value}."))
    answer = form.format(label=label, value=values[missing].text)
    whole = replace(request, phrases={**request.phrases, missing: without_end(answer)})
    return asking, Turn.calling(answer, [offer.planned(tool.name, plain_values(values), whole)])


def refused_turn(rng: random.Random, split: Split, wanted: InventedTool, offer: Offer) -> Turn:
    """A request for a tool that is none of the given ones."""
    request = phrase_request(rng, split, wanted, draw_values(rng, split, wanted))
    thoughts = chosen(request.deed, offer.shown, fits=False)
    return _saying(request.text, thoughts, rng.choice(_NO_TOOL_FITS), _REFUSALS)


def small_talk_turn(rng: random.Random, split: Split) -> Turn:
    """Words that want no tool."""
    talk = draw_small_talk(rng, split, ("courtesies", "self"))
    return _saying(talk.said, chosen(beginning(talk.said), [], fits=False), talk.reply, talk.keys[0].split("|"))


def can_lack(tool: InventedTool) -> list[str]:
    """The parameters that a request for the tool can leave out although they are required."""
    return [] if tool.requests else [p.name for p in tool.parameters if p.required and p.kind != "flag"]


def _one_call(rng: random.Random, split: Split) -> Example:
    tools, tool = draw_tools(rng, split)
    offer = told(rng, split, tools)
    return conversation([call_turn(rng, split, [tool], offer)], offer)


def _several_tools(rng: random.Random, split: Split) -> Example:
    """A test asks for two things, training for up to four: what the tools' schemas take to read is read once then."""
    tools, first = draw_tools(rng, split, least=2)
    others = rng.sample([tool for tool in tools if tool is not first], len(tools) - 1)
    wanted = [first, *others[: 1 if split == "test" else 3]]
    offer = told(rng, split, tools)
    return conversation([call_turn(rng, split, wanted, offer)], offer)


def _same_tool_twice(rng: random.Random, split: Split) -> Example:
    while True:
        tools, tool = draw_tools(rng, split)
        offer = told(rng, split, tools)
        if turn := twice_turn(rng, split, tool, offer):
            return conversation([turn], offer)


def _follow_up(rng: random.Random, split: Split) -> Example:
    """The user gives what was missing; the call is made of both messages."""
    return _incomplete(rng, split, turns=2)


def _missing(rng: random.Random, split: Split) -> Example:
    return _incomplete(rng, split, turns=1)


def _no_tool(rng: random.Random, split: Split) -> Example:
    """A request for a tool that is not there, though another may resemble it."""
    tools, wanted = draw_tools(rng, split, least=2)
    offer = told(rng, split, [tool for tool in tools if tool is not wanted])
    return conversation([refused_turn(rng, split, wanted, offer)], offer)


def _arithmetic(rng: random.Random, split: Split) -> Example:
    """A small sum that the model can do itself, and no tool that could."""
    tools: list[InventedTool] = []
    while not tools:
        tools = [tool for tool in draw_tools(rng, split)[0] if tool.purpose != "arithmetic"]
    high, low = sorted((rng.randint(1, 99), rng.randint(1, 99)), reverse=True)
    problem, worked = rng.choice(((f"{low} + {high}", add(low, high)), (f"{high} - {low}", subtract(high, low))))
    result = str(worked.result)
    text = rng.choice(("What is {}?", "How much is {}?", "{} = ?", "Quick: {}?")).format(problem)
    thoughts = [*chosen(beginning(text), [], fits=False), worked.text]
    return conversation([_saying(text, thoughts, result, [result])], Offer.of(tools))


def _small_talk(rng: random.Random, split: Split) -> Example:
    return conversation([small_talk_turn(rng, split)], told(rng, split, draw_tools(rng, split)[0]))


CASES: Mapping[Callable[[random.Random, Split], Example], int] = {
    _one_call: 57,
    _several_tools: 6,
    _same_tool_twice: 5,
    _follow_up: 5,
    _missing: 6,
    _no_tool: 13,
    _arithmetic: 4,
    _small_talk: 4,
}
"""What makes an example of each situation, and how many of a hundred examples of a test it makes."""

TRAINED_CASES = {**CASES, _several_tools: 25, _same_tool_twice: 8}
"""The shares in training, where requests for several tools teach most per token."""


def _incomplete(rng: random.Random, split: Split, *, turns: int) -> Example:
    while True:
        tools, tool = draw_tools(rng, split)
        if can_lack(tool):
            offer = told(rng, split, tools)
            return conversation(incomplete_turns(rng, split, tool, offer)[:turns], offer)


def _saying(text: str, thoughts: Sequence[str], content: str, phrases: Sequence[str]) -> Turn:
    reply = Message(role="assistant", thinking="\n".join(thoughts), content=content)
    return Turn(text=text, reply=reply, reference={"calls": [], "phrases": list(phrases)})
