"""What the tasks of tool calls have in common: given tools, the wanted one, values for it, and the reply that calls it.

A demonstration thinks before it writes a call as JSON. It says what is to be done and which tool does that, and goes
through the request phrase by phrase:

    Book a table
    fits: cancel_table no
    fits: book_table
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

from fulmen.chat.message import Message, ToolCall, ToolSpec
from fulmen.tasks.calls.requests import Request
from fulmen.tasks.calls.tools import InventedTool, draw_tool
from fulmen.tasks.calls.values import JsonValue, Value
from fulmen.tasks.task import Split
from fulmen.tools.calculator import CALCULATOR
from fulmen.tools.documents import DocumentIndex, document_tools
from fulmen.tools.file_root import FileRoot

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

    Example: `Offer.of([tool, CALCULATOR]).until("calculator")`.
    """

    specs: tuple[ToolSpec, ...]
    shown: tuple[str, ...]

    @classmethod
    def of(cls, tools: Iterable[InventedTool | ToolSpec]) -> "Offer":
        """Offer tools in their order."""
        tools = list(tools)
        return cls(
            specs=tuple(tool.spec() if isinstance(tool, InventedTool) else tool for tool in tools),
            shown=tuple(tool.shown if isinstance(tool, InventedTool) else tool.name for tool in tools),
        )

    def until(self, name: str) -> tuple[str, ...]:
        """How thoughts name the tools up to the one of this name."""
        return self.shown[: [spec.name for spec in self.specs].index(name) + 1]


def told(rng: random.Random, split: Split, tools: Sequence[InventedTool]) -> Offer:
    """The tools as the model is told of them; in training, built-in ones that nobody wants stand among some.

    Their own tasks always want them, and a model that saw them nowhere else would call them whatever is asked.
    """
    if split == "test" or rng.random() < 0.85 or any(tool.purpose in _LIKE_BUILT_IN for tool in tools):
        return Offer.of(tools)
    built_in = rng.sample((*document_specs(), CALCULATOR), rng.choice((1, 2, 3)))
    return Offer.of(rng.sample([*tools, *built_in], len(tools) + len(built_in)))


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

    Example::

        PlannedCall(
            tool="book_table",
            tried=("cancel_table", "book_table"),
            needs=("city",),
            arguments={"city": "Paris", "people": 4},
            request=request,
        )
    """

    tool: str
    tried: Sequence[str]
    """The tools that thoughts go through until this one."""
    needs: Sequence[str]
    """What the tool's schema requires."""
    arguments: Mapping[str, JsonValue]
    """In the order of the schema."""
    request: Request
    """Of one request for two calls of the same tool, both hold it."""

    @classmethod
    def of(cls, tool: InventedTool, values: Mapping[str, Value], request: Request, offer: Offer) -> "PlannedCall":
        """The call of an invented tool with these values."""
        return cls(
            tool=tool.name,
            tried=offer.until(tool.name),
            needs=tool.required,
            arguments=plain_values(values),
            request=request,
        )


def calling(calls: Sequence[PlannedCall]) -> Message:
    """The reply that makes these calls."""
    thoughts: list[str] = []
    for request, group in groupby(calls, key=lambda call: call.request):
        of_one_request = list(group)
        first = of_one_request[0]
        thoughts += chosen(request.deed, first.tried, fits=True)
        thoughts += phrased(request, [call.arguments for call in of_one_request])
        thoughts.append(needed(first.needs, first.arguments))
    written = tuple(
        ToolCall(id=f"call_{index}", name=call.tool, arguments=json.dumps(call.arguments))
        for index, call in enumerate(calls, start=1)
    )
    return Message(role="assistant", thinking="\n".join(thoughts), tool_calls=written)


def chosen(deed: str, tried: Sequence[str], *, fits: bool) -> list[str]:
    """The lines of thought that go through tools for a deed; whether the last one fits, all before it do not.

    Whether a name is that of the deed is seen best when it stands below it; to look for the right one is hard.
    """
    refused = [f"fits: {name} no" for name in (tried[:-1] if fits else tried)]
    return [deed, *refused, *([f"fits: {tried[-1]}"] if fits else [] if tried else ["fits: none"])]


def phrased(request: Request, given: Sequence[Mapping[str, JsonValue]]) -> list[str]:
    """The lines of thought that take the arguments of one call, or of two, from the phrases of a request."""
    lines = []
    for name, phrase in request.phrases.items():
        values = [arguments[name] for arguments in given]
        assigned = dict.fromkeys(f"{name}={v if isinstance(v, str) else json.dumps(v)}" for v in values)
        lines.append(f"{phrase}: {', '.join(assigned)}")
    return lines


def needed(required: Sequence[str], given: Collection[str]) -> str:
    """The line of thought that goes through what a tool requires and says what of it no phrase gave."""
    return "needs: " + (", ".join(name if name in given else f"{name} no" for name in required) or "none")


def plain_values(values: Mapping[str, Value]) -> dict[str, JsonValue]:
    """The arguments as JSON."""
    return {name: value.json for name, value in values.items()}
