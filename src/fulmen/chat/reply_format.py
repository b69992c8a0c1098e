"""How MiniMax-M1 writes a reply: thinking in tags, then text, then tool calls, one JSON object a line.

    <think>
    The user wants the weather.
    </think>

    I will look it up.
    <tool_calls>
    {"name": "get_weather", "arguments": {"city": "Paris"}}
    </tool_calls>

This module writes that form; `parser` is its exact inverse. The tags are text, not tokens of the published
vocabulary. The line breaks around the tags belong to the tags: one after `<think>` and one before `</think>`, two
after `</think>`, one before `<tool_calls>` when text stands before it.
"""

import json
from typing import Literal

from fulmen.chat.message import Message, ToolCall

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
CALLS_OPEN = "<tool_calls>"
CALLS_CLOSE = "</tool_calls>"

OPENED_THINKING = f"{THINK_OPEN}\n"
CLOSE_TEXT = f"\n{THINK_CLOSE}\n\n"
"""What ends the thinking; the engine forces it when a thinking budget is spent."""
CLOSED_THINKING = OPENED_THINKING + CLOSE_TEXT

ThinkingStart = Literal["free", "open", "closed"]
"""What the prompt says of the thinking: nothing, so that the model decides; opened already; opened and closed."""


def reply_text(message: Message, start: ThinkingStart = "free") -> tuple[str, str]:
    """Return an assistant's message in text: the part that the prompt held already, and what the model wrote.

    With `start="free"` the first part is empty. A message that thought nonetheless can't follow a closed thinking
    and is returned as if freely written.
    """
    after = message.content
    if message.tool_calls:
        after += ("\n" if after else "") + _calls_text(message.tool_calls)
    thinking = message.thinking
    if start == "open":
        return OPENED_THINKING, (thinking or "") + CLOSE_TEXT + after
    if start == "closed" and not thinking:
        return CLOSED_THINKING, after
    if thinking is None:
        return "", after
    return "", OPENED_THINKING + thinking + CLOSE_TEXT + after


def _calls_text(calls: tuple[ToolCall, ...]) -> str:
    lines = [
        f'{{"name": {json.dumps(call.name, ensure_ascii=False)}, "arguments": {_arguments_text(call.arguments)}}}'
        for call in calls
    ]
    return "\n".join([CALLS_OPEN, *lines, CALLS_CLOSE])


def _arguments_text(arguments: str) -> str:
    """The arguments on one line, as the model wrote them where possible; what is no JSON object becomes a string.

    Toolkits that parse arguments send them back without spaces. The model wrote spaces, and its own reply is found in
    the prefix store only with them.
    """
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return json.dumps(arguments, ensure_ascii=False)
    text = arguments.strip()
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(value, ensure_ascii=False) if "\n" in text or "\r" in text or text == compact else text
