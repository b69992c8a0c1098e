"""What the tasks of tool calls have in common: given tools, the wanted one, values for it, and the reply that calls it.

A demonstration thinks in one line a call, which copies the tool's name and each value in the order of the schema,
before it writes the call as JSON:

    tool: book_table; city=Paris; people=4
"""

import json
import random
from collections.abc import Mapping, Sequence

from fulmen.chat.message import Message, ToolCall
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


def calling(calls: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> Message:
    """The reply that makes these calls, given by name and arguments."""
    thoughts = ["; ".join([f"tool: {name}", *map(_thought, given.items())]) for name, given in calls]
    written = tuple(
        ToolCall(id=f"call_{index}", name=name, arguments=json.dumps(given))
        for index, (name, given) in enumerate(calls, start=1)
    )
    return Message(role="assistant", thinking="\n".join(thoughts), tool_calls=written)


def plain_values(values: Mapping[str, Value]) -> dict[str, JsonValue]:
    """The arguments as JSON."""
    return {name: value.json for name, value in values.items()}


def _thought(argument: tuple[str, JsonValue]) -> str:
    name, value = argument
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"
