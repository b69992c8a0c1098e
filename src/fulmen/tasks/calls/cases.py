"""The situations in which tools are given: one is wanted, two are, one lacks an argument, or none fits."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fulmen.chat.message import Message, ToolSpec
from fulmen.tasks.calls.requests import Request, beginning, phrase_request, without_end
from fulmen.tasks.calls.situation import (
    PlannedCall,
    calling,
    chosen,
    draw_tools,
    draw_values,
    nearest,
    phrased,
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


def _one_call(rng: random.Random, split: Split) -> Example:
    tools, tool = draw_tools(rng, split)
    values = draw_values(rng, split, tool)
    request = phrase_request(rng, tool, values)
    return _with_calls(told(rng, split, tools), said(request.text), [(tool, values, request)])


def _several_tools(rng: random.Random, split: Split) -> Example:
    """A test asks for two things, training for up to four: what the tools' schemas take to read is read once then."""
    tools, first = draw_tools(rng, split, least=2)
    others = rng.sample([tool for tool in tools if tool is not first], len(tools) - 1)
    wanted = [first, *others[: 1 if split == "test" else 3]]
    calls = []
    for tool in wanted:
        values = draw_values(rng, split, tool)
        calls.append((tool, values, phrase_request(rng, tool, values)))
    text, *more = (request.text for _, _, request in calls)
    for following in more:
        end = "" if text.endswith((".", "?")) else "."
        text += f"{end} {rng.choice(('', 'Also: ', 'And then: ', 'After that: ', 'Second: '))}{following}"
    return _with_calls(told(rng, split, tools), said(text), calls)


def _same_tool_twice(rng: random.Random, split: Split) -> Example:
    """Two calls that differ in one value, in the order of the request."""
    while True:
        tools, tool = draw_tools(rng, split)
        values = draw_values(rng, split, tool)
        doubled = [p for p in tool.parameters if p.kind in _TWICE and p.name in values]
        if not doubled:
            continue
        parameter = rng.choice(doubled)
        one, two = parameter.draw(rng, split), parameter.draw(rng, split)
        if one != two:
            break
    both = Value(json="", text=f"{one.text} and {two.text}")
    request = phrase_request(rng, tool, {**values, parameter.name: both})
    calls = [(tool, {**values, parameter.name: value}, request) for value in (one, two)]
    return _with_calls(told(rng, split, tools), said(request.text), calls)


def _follow_up(rng: random.Random, split: Split) -> Example:
    """The user gives what was missing; the call is made of both messages."""
    tools, tool, values, missing = _draw_incomplete(rng, split)
    label = missing.replace("_", " ")
    form = rng.choice(("{value}", "{value}.", "{value}, please.", "It is {value}.", "The {label} is {value}."))
    answer = form.format(label=label, value=values[missing].text)
    request = phrase_request(rng, tool, {name: value for name, value in values.items() if name != missing})
    messages = (*said(request.text), Message(role="assistant", content=_question(label)), *said(answer))
    whole = replace(request, phrases={**request.phrases, missing: without_end(answer)})
    return _with_calls(told(rng, split, tools), messages, [(tool, values, whole)])


def _missing(rng: random.Random, split: Split) -> Example:
    tools, tool, values, missing = _draw_incomplete(rng, split)
    label = missing.replace("_", " ")
    del values[missing]
    request = phrase_request(rng, tool, values)
    specs = told(rng, split, tools)
    given = plain_values(values)
    thoughts = [*chosen(request.deed, tool.name), *phrased(request, [given]), f"missing: {missing}"]
    return _without_call(specs, request.text, thoughts, content=_question(label), phrases=[label])


def _no_tool(rng: random.Random, split: Split) -> Example:
    """A request for a tool that is not there, though another may resemble it."""
    tools, wanted = draw_tools(rng, split, least=2)
    request = phrase_request(rng, wanted, draw_values(rng, split, wanted))
    others = [tool for tool in tools if tool is not wanted]
    specs = [spec for spec in told(rng, split, tools) if spec.name != wanted.name]
    thoughts = chosen(request.deed, None, nearest=nearest(wanted, others) or specs[0].name)
    return _without_call(specs, request.text, thoughts, content=rng.choice(_NO_TOOL_FITS), phrases=_REFUSALS)


def _arithmetic(rng: random.Random, split: Split) -> Example:
    """A small sum that the model can do itself, and no tool that could."""
    specs: list[ToolSpec] = []
    while not specs:
        specs = [tool.spec() for tool in draw_tools(rng, split)[0] if tool.purpose != "arithmetic"]
    high, low = sorted((rng.randint(1, 99), rng.randint(1, 99)), reverse=True)
    problem, worked = rng.choice(((f"{low} + {high}", add(low, high)), (f"{high} - {low}", subtract(high, low))))
    result = str(worked.result)
    text = rng.choice(("What is {}?", "How much is {}?", "{} = ?", "Quick: {}?")).format(problem)
    thoughts = [*chosen(beginning(text), None), worked.text]
    return _without_call(specs, text, thoughts, content=result, phrases=[result])


def _small_talk(rng: random.Random, split: Split) -> Example:
    specs = told(rng, split, draw_tools(rng, split)[0])
    talk = draw_small_talk(rng, split, ("courtesies", "self"))
    thoughts = chosen(beginning(talk.said), None)
    return _without_call(specs, talk.said, thoughts, content=talk.reply, phrases=talk.keys[0].split("|"))


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

TRAINED_CASES = {**CASES, _several_tools: 25}
"""The shares in training, where requests for several tools teach most per token."""


def _draw_incomplete(
    rng: random.Random, split: Split
) -> tuple[list[InventedTool], InventedTool, dict[str, Value], str]:
    """Tools, the wanted one, its values, and the required parameter that the request is to leave out."""
    while True:
        tools, tool = draw_tools(rng, split)
        required = [p.name for p in tool.parameters if p.required and p.kind != "flag"]
        if required and not tool.requests:
            return tools, tool, draw_values(rng, split, tool), rng.choice(required)


def _question(label: str) -> str:
    return f"What {'are' if label.endswith('s') else 'is'} the {label}?"


def _with_calls(
    tools: Sequence[ToolSpec],
    messages: tuple[Message, ...],
    calls: Sequence[tuple[InventedTool, Mapping[str, Value], Request]],
) -> Example:
    planned = [
        PlannedCall(tool=tool.name, arguments=plain_values(values), request=request) for tool, values, request in calls
    ]
    return Example(
        messages=messages,
        tools=tuple(tools),
        reference={"calls": [{"name": call.tool, "arguments": call.arguments} for call in planned]},
        demonstration=calling(planned),
    )


def _without_call(
    tools: Sequence[ToolSpec], text: str, thoughts: Sequence[str], *, content: str, phrases: Sequence[str]
) -> Example:
    return Example(
        messages=said(text),
        tools=tuple(tools),
        reference={"calls": [], "phrases": list(phrases)},
        demonstration=Message(role="assistant", thinking="\n".join(thoughts), content=content),
    )
