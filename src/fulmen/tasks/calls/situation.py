"""What the tasks of tool calls have in common: given tools, the wanted one, values for it, and the reply that calls it.

A demonstration thinks before it writes a call as JSON. It says what is to be done and which tool does that, goes
through the request phrase by phrase, and puts the arguments in the order of the schema:

    Book a table
    fits: book_table
    for four people: people=4
    in Paris: city=Paris
    tool: book_table; city=Paris; people=4

So each step stands on what was written last, and a model that can do little more than find and copy gets there.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from fulmen.chat.message import Message, ToolCall
from fulmen.tasks.calls.requests import Request
from fulmen.tasks.calls.tools import InventedTool, draw_tool
from fulmen.tasks.calls.values import JsonValue, Value
from fulmen.tasks.task import Split


def draw_tools(rng: random.Random, split: Split, *, least: int = 1) -> tuple[list[InventedTool], InventedTool]:
    """Up to five tools in any order, and the one that is wanted; others may resemble it but not do the same."""
    wanted = draw_tool(rng, split)
    tools = {wanted.name: wanted}
    count = max(least, rng.choice((1, 1, 2, 2, 2, 3, 3, 4, 5)))
    while len(tools) < count:
        tool = draw_tool(rng, split, near=wanted if rng.random() < 0.4 else None)
        if not any(tool.does_the_same_as(other) for other in tools.values()):
            tools.setdefault(tool.name, tool)
    return rng.sample(list(tools.values()), len(tools)), wanted


def draw_values(rng: random.Random, split: Split, tool: InventedTool) -> dict[str, Value]:
    """Values for the required parameters and for some of the others, in the order of the schema."""
    parameters = [p for p in tool.parameters if p.required or rng.random() < 0.5]
    return {parameter.name: parameter.draw(rng, split) for parameter in parameters}


def said(text: str) -> tuple[Message, ...]:
    """A message of the user."""
    return (Message(role="user", content=text),)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCall:
    """A call that is due, and the request that it follows from.

    Example: `PlannedCall(tool="book_table", arguments={"city": "Paris", "people": 4}, request=request)`.
    """

    tool: str
    arguments: Mapping[str, JsonValue]
    """In the order of the schema."""
    request: Request
    """Of one request for two calls of the same tool, both hold it."""


def calling(calls: Sequence[PlannedCall]) -> Message:
    """The reply that makes these calls."""
    thoughts: list[str] = []
    for request, group in groupby(calls, key=lambda call: call.request):
        of_one_request = list(group)
        tool, given = of_one_request[0].tool, [call.arguments for call in of_one_request]
        thoughts += [*chosen(request.deed, tool), *phrased(request, given)]
        thoughts += [concluded(tool, arguments) for arguments in given]
    written = tuple(
        ToolCall(id=f"call_{index}", name=call.tool, arguments=json.dumps(call.arguments))
        for index, call in enumerate(calls, start=1)
    )
    return Message(role="assistant", thinking="\n".join(thoughts), tool_calls=written)


def chosen(deed: str, tool: str | None) -> list[str]:
    """The lines of thought that name the tool for a deed, or that none is there."""
    return [deed, f"fits: {tool or 'none'}"]


def phrased(request: Request, given: Sequence[Mapping[str, JsonValue]]) -> list[str]:
    """The lines of thought that take the arguments of one call, or of two, from the phrases of a request."""
    lines = []
    for name, phrase in request.phrases.items():
        assigned = dict.fromkeys(_assigned(name, arguments[name]) for arguments in given)
        lines.append(f"{phrase}: {', '.join(assigned)}")
    return lines


def concluded(tool: str, given: Mapping[str, JsonValue], missing: str | None = None) -> str:
    """The line of thought that a call copies, with the first parameter for which the request has no value."""
    line = "; ".join([f"tool: {tool}", *(_assigned(name, value) for name, value in given.items())])
    return line if missing is None else f"{line}; {missing} is missing"


def plain_values(values: Mapping[str, Value]) -> dict[str, JsonValue]:
    """The arguments as JSON."""
    return {name: value.json for name, value in values.items()}


def _assigned(name: str, value: JsonValue) -> str:
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"
