"""What the tasks of tool calls have in common: given tools, the wanted one, values for it, and the reply that calls it.

A demonstration thinks before it writes a call as JSON. It says what is to be done and which tool does that, and goes
through the request phrase by phrase:

    Book a table
    fits: cancel_table no
    fits: book_table
    takes: city a place, people integer
    for four people: people=4
    in Paris: city=Paris
    needs: city, people

The tools are gone through in their order until one fits; where none does, the reply says so. Where nobody said how many
people come, the thought ends with `needs: city, people no`, and the reply asks for them.

So each step stands on what was written last, and a model that can do little more than find and copy gets there. The
order of the arguments, which is the schema's, is left to the call, where the grammar knows it.
"""

import json
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from fulmen.chat.message import Message, ToolCall, ToolSpec
from fulmen.tasks.calls.requests import Request
from fulmen.tasks.calls.tools import InventedTool, draw_tool
from fulmen.tasks.calls.values import JsonValue, Value
from fulmen.tasks.task import Split
from fulmen.tools.calculator import CALCULATOR
from fulmen.tools.documents import DocumentIndex, document_tools
from fulmen.tools.file_root import FileRoot

_MOST_HINT_WORDS = 4
_LIKE_BUILT_IN = {"arithmetic", "search", "file"}
"""Purposes of families whose requests a built-in tool could serve."""


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


@cache
def document_specs() -> tuple[ToolSpec, ToolSpec]:
    """The built-in tools that search documents and read one."""
    root = FileRoot(Path(__file__).parent)  # any folder: only what the tools say of themselves is used
    search, read = (tool.spec() for tool in document_tools(DocumentIndex(root), root))
    return search, read


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """The tools that a model is told of, in this order, and how thoughts name them.

    Example: `Offer.of([tool, CALCULATOR]).planned("calculator", {"expression": "2 * 3"}, request)`.
    """

    specs: tuple[ToolSpec, ...]
    shown: tuple[str, ...]
    """The names; where one tells nothing, with its description."""

    @classmethod
    def of(cls, tools: Iterable[InventedTool | ToolSpec]) -> "Offer":
        """Offer tools in their order."""
        tools = list(tools)
        return cls(
            specs=tuple(tool.spec() if isinstance(tool, InventedTool) else tool for tool in tools),
            shown=tuple(tool.shown if isinstance(tool, InventedTool) else tool.name for tool in tools),
        )

    def planned(self, name: str, arguments: Mapping[str, JsonValue], request: Request) -> "PlannedCall":
        """The call of one of the tools, by its name."""
        index = [spec.name for spec in self.specs].index(name)
        return PlannedCall(tool=self.specs[index], tried=self.shown[: index + 1], arguments=arguments, request=request)


def told(rng: random.Random, split: Split, tools: Sequence[InventedTool]) -> Offer:
    """The tools as the model is told of them; in training, built-in ones that nobody wants stand among some.

    Their own tasks always want them, and a model that saw them nowhere else would call them whatever is asked.
    """
    if split == "test" or rng.random() < 0.85 or like_built_in(tools):
        return Offer.of(tools)
    built_in = rng.sample((*document_specs(), CALCULATOR), rng.choice((1, 2, 3)))
    return Offer.of(rng.sample([*tools, *built_in], len(tools) + len(built_in)))


def like_built_in(tools: Iterable[InventedTool]) -> bool:
    """Whether a request for one of the tools could be meant for a built-in one."""
    return any(tool.purpose in _LIKE_BUILT_IN for tool in tools)


def draw_values(rng: random.Random, split: Split, tool: InventedTool) -> dict[str, Value]:
    """Values for the required parameters and for some of the others, in the order of the schema."""
    parameters = [p for p in tool.parameters if p.required or rng.random() < 0.5]
    return {parameter.name: parameter.draw(rng, split) for parameter in parameters}


def said(text: str) -> tuple[Message, ...]:
    """A message of the user."""
    return (Message(role="user", content=text),)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCall:
    """A call that is due, or would be if nothing were missing, and the request that it follows from.

    Example::

        PlannedCall(
            tool=book_table,
            tried=("cancel_table", "book_table"),
            arguments={"city": "Paris", "people": 4},
            request=request,
        )
    """

    tool: ToolSpec
    tried: Sequence[str]
    """The names of tools that thoughts go through until this one."""
    arguments: Mapping[str, JsonValue]
    """In the order of the schema."""
    request: Request
    """Of one request for two calls of the same tool, both hold it."""


def calling(calls: Sequence[PlannedCall]) -> Message:
    """The reply that makes these calls."""
    groups = groupby(calls, key=lambda call: call.request)
    written = tuple(
        ToolCall(id=f"call_{index}", name=call.tool.name, arguments=json.dumps(call.arguments))
        for index, call in enumerate(calls, start=1)
    )
    thoughts = [line for _, group in groups for line in considered(list(group))]
    return Message(role="assistant", thinking="\n".join(thoughts), tool_calls=written)


def considered(calls: Sequence[PlannedCall]) -> list[str]:
    """The lines of thought on one request, which wants a tool once or twice."""
    first = calls[0]
    return [
        *chosen(first.request.deed, first.tried, fits=True),
        _taken(first.tool),
        *_phrased(first.request, [call.arguments for call in calls]),
        _needed(first.tool, first.arguments),
    ]


def chosen(deed: str, tried: Sequence[str], *, fits: bool) -> list[str]:
    """The lines of thought that go through tools for a deed; whether the last one fits, all before it do not.

    Whether a name is that of the deed is seen best when it stands below it; to look for the right one is hard.
    """
    refused = [f"fits: {name} no" for name in (tried[:-1] if fits else tried)]
    return [deed, *refused, *([f"fits: {tried[-1]}"] if fits else [] if tried else ["fits: none"])]


def plain_values(values: Mapping[str, Value]) -> dict[str, JsonValue]:
    """The arguments as JSON."""
    return {name: value.json for name, value in values.items()}


def _taken(tool: ToolSpec) -> str:
    """The line with a tool's parameters and how to tell their values: by choices, meaning or type."""
    parameters = tool.parameters["properties"].items()
    return "takes: " + ", ".join(f"{name} {_hint(schema)}" for name, schema in parameters)


def _hint(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " ".join(schema["enum"])
    meaning: str = schema.get("description") or schema["type"]
    return " ".join(meaning.split()[:_MOST_HINT_WORDS])


def _phrased(request: Request, given: Sequence[Mapping[str, JsonValue]]) -> list[str]:
    """The lines that take the arguments of one call, or of two, from the phrases of a request."""
    lines = []
    for name, phrase in request.phrases.items():
        values = [arguments[name] for arguments in given]
        assigned = dict.fromkeys(f"{name}={v if isinstance(v, str) else json.dumps(v)}" for v in values)
        lines.append(f"{phrase}: {', '.join(assigned)}")
    return lines


def _needed(tool: ToolSpec, given: Collection[str]) -> str:
    """The line that goes through what a tool requires and says what of it no phrase gave."""
    required = tool.parameters["required"]
    return "needs: " + (", ".join(name if name in given else f"{name} no" for name in required) or "none")
