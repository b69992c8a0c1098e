"""What a chat template is given: messages as plain dictionaries, in the shape that the template can read.

Templates know less than messages say. MiniMax-M1's drops an assistant's tool calls and wants each text in a list of
parts; most others know no tools at all. Here an assistant's message becomes the text that the model wrote
(`reply_format`), earlier thinking is left out, results of tools get the names of their tools, and where a template
has no place for tools they are described in the system message, in the words of MiniMax-M1.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.reply_format import ThinkingStart, reply_text

_TOOLS_TEXT = """You are provided with these tools:
<tools>
{tools}
</tools>

If you need to call tools, please respond with <tool_calls></tool_calls> XML tags, and provide tool-name and \
json-object of arguments, following the format below:
<tool_calls>
{{"name": <tool-name-1>, "arguments": <args-json-object-1>}}
...
</tool_calls>"""


@dataclass(frozen=True, slots=True)
class Marks:
    """Characters that mark places in the rendered text; empty strings leave it as it is."""

    cut: str = ""
    """Between two pieces that must be encoded apart."""
    begin: str = ""
    """Before what the model wrote of a reply."""
    end: str = ""
    """After it."""

    def remove(self, text: str) -> str:
        """Return the text without the marks."""
        for mark in (self.cut, self.begin, self.end):
            text = text.replace(mark, "")
        return text


NO_MARKS = Marks()


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """What a template can read."""

    parts: bool
    """Content is a list of parts, not a string."""
    tools: bool
    """It has a place for tools and their results, and asks for calls in MiniMax-M1's form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """What a template is rendered with."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    as_written: tuple[bool, ...]
    """For each reply: whether it stands as the model wrote it, with its thinking, and may be trained on."""


def write_transcript(
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    style: Style,
    start: ThinkingStart = "free",
    keep_thinking: bool = False,
    guard: Callable[[str], str] = str,
    marks: Marks = NO_MARKS,
) -> Transcript:
    """Write messages and tools for a template.

    Args:
        messages: the conversation.
        tools: tools that the model may call.
        style: what the template can read.
        start: how the prompt of each reply treated the thinking.
        keep_thinking: keep the thinking of all replies. Otherwise a reply before the last user message loses it;
            later ones keep it, as a model that calls tools goes on from its own thoughts.
        guard: applied to every text that comes from outside.
        marks: put around each reply.

    Raises:
        ValueError: a tool message answers no call; the message names its index.
    """
    last_user = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    names: dict[str, str] = {}
    as_written = []
    entries: list[dict[str, Any]] = []
    for index, original in enumerate(messages):
        message = _guarded(original, guard)
        if message.role == "tool":
            name = message.name or names.get(message.tool_call_id or "")
            if name is None:
                raise ValueError(
                    f"messages[{index}].tool_call_id {message.tool_call_id!r} answers no earlier tool call"
                )
            _add_tool_result(entries, name, message.content, style, new=not index or messages[index - 1].role != "tool")
        elif message.role == "assistant":
            names |= {call.id: call.name for call in message.tool_calls}
            current = keep_thinking or index > last_user
            as_written.append(current or (start == "free" and message.thinking is None))
            entries.append({"role": "assistant", "content": _reply(message, current, start, marks)})
        else:
            entries.append({"role": message.role, "content": message.content})
    described = [_tool_entry(tool, index, guard) for index, tool in enumerate(tools)]
    if described and not style.tools:
        _describe_tools(entries, described)
    if style.parts:
        for entry in entries:
            if isinstance(entry["content"], str):
                entry["content"] = [{"type": "text", "text": entry["content"]}]
    given_tools = described if described and style.tools else None
    return Transcript(messages=entries, tools=given_tools, as_written=tuple(as_written))


def _reply(message: Message, current: bool, start: ThinkingStart, marks: Marks) -> str:
    """A reply between marks; one that is not current stands without its thinking and what the prompt said of it."""
    if not current:
        message, start = dataclasses.replace(message, thinking=None), "free"
    given, written = reply_text(message, start)
    return f"{marks.cut + given if given else ''}{marks.begin}{written}{marks.end}"


def _guarded(message: Message, guard: Callable[[str], str]) -> Message:
    calls = tuple(
        dataclasses.replace(call, name=guard(call.name), arguments=guard(call.arguments)) for call in message.tool_calls
    )
    return dataclasses.replace(
        message,
        content=guard(message.content),
        thinking=None if message.thinking is None else guard(message.thinking),
        tool_calls=calls,
        name=None if message.name is None else guard(message.name),
    )


def _add_tool_result(entries: list[dict[str, Any]], name: str, text: str, style: Style, *, new: bool) -> None:
    """Add a result to the message of results: one for all that stand together, as in MiniMax-M1's guide.

    A template without tools gets them from the user, as many such templates insist on turns of user and assistant.
    """
    if style.tools:
        part = {"type": "text", "name": name, "text": text}
        if new:
            entries.append({"role": "tool", "content": [part]})
        else:
            entries[-1]["content"].append(part)
        return
    result = f"tool name: {name}\ntool result: {text}\n\n"
    if new:
        entries.append({"role": "user", "content": result})
    else:
        entries[-1]["content"] += result


def _tool_entry(tool: ToolSpec, index: int, guard: Callable[[str], str]) -> dict[str, Any]:
    """The tool as MiniMax-M1's guide writes it; guarded in its JSON text, so that no string in it is missed."""
    entry = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    try:
        guarded: dict[str, Any] = json.loads(guard(json.dumps(entry, ensure_ascii=False)))
    except RecursionError:
        raise ValueError(f"tools[{index}].parameters is nested too deeply") from None
    return guarded


def _describe_tools(entries: list[dict[str, Any]], tools: list[dict[str, Any]]) -> None:
    text = _TOOLS_TEXT.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    if entries and entries[0]["role"] == "system":
        entries[0]["content"] += "\n\n" + text
    else:
        entries.insert(0, {"role": "system", "content": text})
