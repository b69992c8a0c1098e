"""Input items of the Responses API to messages: what one assistant's turn says in several items becomes one message."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fulmen.chat.message import Message, messages_from_openai

_CONTENT_FIELDS = {"function_call_output": ".output", "compaction": ".encrypted_content"}


def messages_from_input(value: object) -> tuple[Message, ...]:
    """Read `input`: a text of the user, or items.

    Items are messages, with or without their `type`, `function_call`, `function_call_output`, `reasoning`, and
    `compaction`, whose summary the assistant gave.

    Raises:
        ValueError: with the index and the field of what can't be read.
    """
    if isinstance(value, str):
        return (Message(role="user", content=value),)
    if not isinstance(value, Sequence) or not value:
        raise ValueError("input must be a text or a non-empty list of items")
    messages: list[Message] = []
    for index, item in enumerate(value):
        new = _read_item(item, f"input[{index}]")
        if messages and new.role == messages[-1].role == "assistant" and _continues(messages[-1], new):
            messages[-1] = _merge(messages[-1], new)
        else:
            messages.append(new)
    return tuple(messages)


def _read_item(item: object, where: str) -> Message:
    if not isinstance(item, Mapping):
        raise ValueError(f"{where} must be an object")
    kind = item.get("type", "message")
    if kind == "reasoning":
        return Message(role="assistant", thinking=_reasoning_text(item, where))
    chat: dict[str, Any]
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments", "{}")}
        chat = {"role": "assistant", "tool_calls": [{"id": item.get("call_id"), "function": function}]}
    elif kind == "function_call_output":
        chat = {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    elif kind == "message":
        chat = {"role": item.get("role"), "content": item.get("content")}
    elif kind == "compaction":
        chat = {"role": "assistant", "content": item.get("encrypted_content", "")}
    else:
        raise ValueError(
            f"{where}.type is {kind!r:.80}; it must be message, function_call, function_call_output, reasoning or "
            "compaction"
        )
    try:
        (message,) = messages_from_openai([chat])
    except ValueError as error:
        places = {
            "messages[0].tool_calls[0].function": where,
            "messages[0].tool_calls[0].id": f"{where}.call_id",
            "messages[0].tool_call_id": f"{where}.call_id",
            "messages[0]": where,
        }
        text = str(error)
        for place, ours in places.items():
            text = text.replace(place, ours)
        raise ValueError(text.replace(".content", _CONTENT_FIELDS.get(kind, ".content"))) from None
    return message


def _reasoning_text(item: Mapping[str, Any], where: str) -> str:
    """The thinking itself, or its summary where that is all there is; encrypted content is not ours to read."""
    for key in ("content", "summary"):
        parts = item.get(key) or []
        if not isinstance(parts, list):
            raise ValueError(f"{where}.{key} must be a list")
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"{where}.{key}[{index}].text must be a string")
        if texts:
            return "\n".join(map(str, texts))
    return ""


def _continues(earlier: Message, new: Message) -> bool:
    """A turn is thinking, then text, then calls; what comes out of this order begins another."""
    if new.thinking is not None:
        return False
    return bool(new.tool_calls) or not (earlier.content or earlier.tool_calls)


def _merge(earlier: Message, new: Message) -> Message:
    return dataclasses.replace(
        earlier,
        content=earlier.content + new.content,
        tool_calls=(*earlier.tool_calls, *new.tool_calls),
        num_unseen_images=earlier.num_unseen_images + new.num_unseen_images,
    )
