"""What a tool is: a name, a purpose, a JSON schema of its arguments, and something to await.

Where a tool comes from does not show: `function` makes one of a Python function, `mcp_client` of an MCP server's
tool, and whoever has a schema already makes one by hand. `registry` calls them.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fulmen.chat.message import Message, ToolCall, ToolSpec


class ToolError(Exception):
    """Raised by a tool with a message that the model gets to read: what is wrong, and what to do instead.

    Example: `raise ToolError("there is no file notes.txt; the folder holds: todo.md, plan.md")`.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool.

    Example::

        async def run(arguments):
            return {"result": arguments["a"] + arguments["b"]}

        number = {"type": "number"}
        Tool(
            name="add",
            description="Add two numbers.",
            parameters={"type": "object", "properties": {"a": number, "b": number}, "required": ["a", "b"]},
            run=run,
        )
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments, an object."""
    run: Callable[[Mapping[str, Any]], Awaitable[object]]
    """Called with arguments that fit `parameters`. What it returns becomes text by `content.as_text`; what it raises
    becomes a message to the model. It is cancelled like any coroutine."""
    dangerous: bool = False
    """It changes something that can't be undone, or sends something out: a human is to confirm each call."""
    timeout: float | None = None
    """Seconds; None leaves it to the registry."""

    def spec(self) -> ToolSpec:
        """The tool as the model is told of it."""
        return ToolSpec(name=self.name, description=self.description, parameters=self.parameters)


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolResult:
    """What came of a call.

    Example: `ToolResult(call=call, content='{"result": 42}')`.
    """

    call: ToolCall
    content: str
    """What the model reads; of a failure, why and what to do instead."""
    failed: bool = False

    def message(self) -> Message:
        """The tool message that continues the conversation."""
        return Message(role="tool", content=self.content, tool_call_id=self.call.id or None, name=self.call.name)
