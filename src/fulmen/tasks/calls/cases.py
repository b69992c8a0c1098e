"""The situations in which tools are given: one is wanted, two are, one lacks an argument, or none fits.

A demonstration thinks in one line a call, which copies the tool's name and each value in the order of the schema,
before it writes the call as JSON:

    tool: book_table; city=Paris; people=4
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence

from fulmen.chat.message import Message, ToolCall
from fulmen.tasks.calls.requests import phrase_request
from fulmen.tasks.calls.tools import InventedTool, draw_tool
from fulmen.tasks.calls.values import Value
from fulmen.tasks.talk.intents import draw_small_talk
from fulmen.tasks.task import Example, Split

_NO_TOOL_FITS = ("None of my tools can do that.", "I have no tool for that.", "No tool that I have can do that.")
_REFUSALS = ("none of my tools", "no tool")
_TWICE = ("place", "person", "code", "item")
"""Kinds of which a request may name two at once: "in Paris and Rome"."""


def _one_call(rng: random.Random, split: Split) -> Example:
    tools, tool = _draw_tools(rng, split)
    values = _draw_values(rng, split, tool)
    return _with_calls(tools, _said(phrase_request(rng, tool, values)), [(tool, values)])


def _two_tools(rng: random.Random, split: Split) -> Example:
    tools, first = _draw_tools(rng, split, least=2)
    second = rng.choice([tool for tool in tools if tool is not first])
    calls = [(tool, _draw_values(rng, split, tool)) for tool in (first, second)]
    one, two = (phrase_request(rng, tool, values) for tool, values in calls)
    one += "" if one.endswith((".", "?")) else "."
    link = rng.choice(("", "Also: ", "And then: ", "After that: ", "Second: "))
    return _with_calls(tools, _said(f"{one} {link}{two}"), calls)


def _same_tool_twice(rng: random.Random, split: Split) -> Example:
    """Two calls that differ in one value, in the order of the request."""
    while True:
        tools, tool = _draw_tools(rng, split)
        values = _draw_values(rng, split, tool)
        doubled = [p for p in tool.parameters if p.kind in _TWICE and p.name in values]
        if not doubled:
            continue
        parameter = rng.choice(doubled)
        one, two = parameter.draw(rng, split), parameter.draw(rng, split)
        if one != two:
            break
    both = Value(json="", text=f"{one.text} and {two.text}")
    text = phrase_request(rng, tool, {**values, parameter.name: both})
    return _with_calls(tools, _said(text), [(tool, {**values, parameter.name: value}) for value in (one, two)])


def _follow_up(rng: random.Random, split: Split) -> Example:
    """The user gives what was missing; the call is made of both messages."""
    tools, tool, values, missing = _draw_incomplete(rng, split)
    label = missing.replace("_", " ")
    answer = rng.choice(("{value}", "{value}.", "{value}, please.", "It is {value}.", "The {label} is {value}."))
    messages = (
        *_said(phrase_request(rng, tool, {name: value for name, value in values.items() if name != missing})),
        Message(role="assistant", content=_question(label)),
        *_said(answer.format(label=label, value=values[missing].text)),
    )
    return _with_calls(tools, messages, [(tool, values)])


def _missing(rng: random.Random, split: Split) -> Example:
    tools, tool, values, missing = _draw_incomplete(rng, split)
    label = missing.replace("_", " ")
    text = phrase_request(rng, tool, {name: value for name, value in values.items() if name != missing})
    thinking = f"tool: {tool.name}; {missing} is missing"
    return _without_call(tools, text, thinking=thinking, content=_question(label), phrases=[label])


def _no_tool(rng: random.Random, split: Split) -> Example:
    """A request for a tool that is not there, though another may resemble it."""
    tools, wanted = _draw_tools(rng, split, least=2)
    text = phrase_request(rng, wanted, _draw_values(rng, split, wanted))
    tools = [tool for tool in tools if tool is not wanted]
    content = rng.choice(_NO_TOOL_FITS)
    return _without_call(tools, text, thinking="no tool fits", content=content, phrases=_REFUSALS)


def _arithmetic(rng: random.Random, split: Split) -> Example:
    """A small sum that the model can do itself, and no tool that could."""
    tools: list[InventedTool] = []
    while not tools:
        tools = [tool for tool in _draw_tools(rng, split)[0] if tool.purpose != "arithmetic"]
    high, low = sorted((rng.randint(1, 99), rng.randint(1, 99)), reverse=True)
    problem, result = rng.choice(((f"{low} + {high}", low + high), (f"{high} - {low}", high - low)))
    text = rng.choice(("What is {}?", "How much is {}?", "{} = ?", "Quick: {}?")).format(problem)
    thinking = f"no tool fits; {problem} = {result}"
    return _without_call(tools, text, thinking=thinking, content=str(result), phrases=[str(result)])


def _small_talk(rng: random.Random, split: Split) -> Example:
    tools = _draw_tools(rng, split)[0]
    talk = draw_small_talk(rng, split, ("courtesies", "self"))
    phrases = talk.keys[0].split("|")
    return _without_call(tools, talk.said, thinking="no tool fits", content=talk.reply, phrases=phrases)


CASES: Mapping[Callable[[random.Random, Split], Example], int] = {
    _one_call: 57,
    _two_tools: 6,
    _same_tool_twice: 5,
    _follow_up: 5,
    _missing: 6,
    _no_tool: 13,
    _arithmetic: 4,
    _small_talk: 4,
}
"""What makes an example of each situation, and how many of a hundred examples it makes."""


def _draw_tools(rng: random.Random, split: Split, *, least: int = 1) -> tuple[list[InventedTool], InventedTool]:
    """Up to five tools in any order, and the one that is wanted; others may resemble it but not do the same."""
    wanted = draw_tool(rng, split)
    tools = {wanted.name: wanted}
    count = max(least, rng.choice((1, 1, 2, 2, 2, 3, 3, 4, 5)))
    while len(tools) < count:
        tool = draw_tool(rng, split, near=wanted if rng.random() < 0.4 else None)
        if not any(tool.does_the_same_as(other) for other in tools.values()):
            tools.setdefault(tool.name, tool)
    return rng.sample(list(tools.values()), len(tools)), wanted


def _draw_values(rng: random.Random, split: Split, tool: InventedTool) -> dict[str, Value]:
    """Values for the required parameters and for some of the others, in the order of the schema."""
    parameters = [p for p in tool.parameters if p.required or rng.random() < 0.5]
    return {parameter.name: parameter.draw(rng, split) for parameter in parameters}


def _draw_incomplete(
    rng: random.Random, split: Split
) -> tuple[list[InventedTool], InventedTool, dict[str, Value], str]:
    """Tools, the wanted one, its values, and the required parameter that the request is to leave out."""
    while True:
        tools, tool = _draw_tools(rng, split)
        required = [p.name for p in tool.parameters if p.required and p.kind != "flag"]
        if required and not tool.requests:
            return tools, tool, _draw_values(rng, split, tool), rng.choice(required)


def _question(label: str) -> str:
    return f"What {'are' if label.endswith('s') else 'is'} the {label}?"


def _said(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def _with_calls(
    tools: Sequence[InventedTool],
    messages: tuple[Message, ...],
    calls: Sequence[tuple[InventedTool, Mapping[str, Value]]],
) -> Example:
    named = [(tool.name, {name: value.json for name, value in values.items()}) for tool, values in calls]
    thoughts = ["; ".join([f"tool: {name}", *map(_thought, given.items())]) for name, given in named]
    written = tuple(
        ToolCall(id=f"call_{index}", name=name, arguments=json.dumps(given))
        for index, (name, given) in enumerate(named, start=1)
    )
    return Example(
        messages=messages,
        tools=tuple(tool.spec() for tool in tools),
        reference={"calls": [{"name": name, "arguments": given} for name, given in named]},
        demonstration=Message(role="assistant", thinking="\n".join(thoughts), tool_calls=written),
    )


def _thought(argument: tuple[str, str | int | float | bool]) -> str:
    name, value = argument
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"


def _without_call(
    tools: Sequence[InventedTool], text: str, *, thinking: str, content: str, phrases: Sequence[str]
) -> Example:
    return Example(
        messages=_said(text),
        tools=tuple(tool.spec() for tool in tools),
        reference={"calls": [], "phrases": list(phrases)},
        demonstration=Message(role="assistant", thinking=thinking, content=content),
    )
