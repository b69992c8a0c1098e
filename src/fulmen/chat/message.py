"""Messages of a conversation, read from and written to the dictionaries of OpenAI's chat API.

First station of a request: `server` and `cli` turn what they were given into these records, `template` renders
them. Every complaint about a request names the message and the field, so that a server can pass it on as it is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_IMAGE_PARTS = ("image_url", "input_image")
UNSEEN_IMAGE = "[image: you can't see it, because you read text only; tell the user so]"
"""What stands in a message where an image was, so that a model can say what it has not seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A call that the assistant asks for.

    Example: `ToolCall(id="call_1", name="get_weather", arguments='{"city": "Paris"}')`.
    """

    id: str
    name: str
    arguments: str
    """JSON text as the model wrote it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolSpec:
    """A tool that the assistant may call: its name, purpose and the JSON schema of its arguments.

    Example: `ToolSpec(name="get_weather", description="Weather of a city", parameters={"type": "object"})`.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any]
    strict: bool = False
    """Every call must fit the schema, so one that no grammar can express in full is refused."""

    def to_openai(self) -> dict[str, Any]:
        """Return the tool as OpenAI's chat API writes it."""
        function: dict[str, Any] = {"name": self.name, "description": self.description}
        function["parameters"] = dict(self.parameters)
        if self.strict:
            function["strict"] = True
        return {"type": "function", "function": function}


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message. Thinking and tool calls belong to the assistant, `tool_call_id` and `name` to a tool's result.

    Example: `Message(role="assistant", content="Paris.", thinking="The user asks for the capital.")`.
    """

    role: Role
    content: str = ""
    thinking: str | None = None
    """What the assistant thought before it answered; None when it did not think, "" when it thought nothing."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    """The tool whose result this is; found through `tool_call_id` when absent."""
    num_unseen_images: int = 0
    """Images of the content in whose place stands `UNSEEN_IMAGE`."""

    def to_openai(self) -> dict[str, Any]:
        """Return the message as OpenAI's API writes it, thinking under `reasoning_content`."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.thinking is not None:
            message["reasoning_content"] = self.thinking
        if self.tool_calls:
            message["content"] = self.content or None
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.tool_calls
            ]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            message["name"] = self.name
        return message


def messages_from_openai(messages: object) -> tuple[Message, ...]:
    """Read the `messages` of a chat request.

    Content may be a string, null (assistant only) or a list of parts, which are joined by line breaks. A part is text,
    or an image, which is not looked at: tools return screenshots, and a conversation must not end there. A tool
    message whose parts carry a `name`, as in the guide of MiniMax-M1, becomes one message for each part.

    Raises:
        ValueError: with the index and the field of what can't be read, as in `messages[2].content is missing`.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes) or not messages:
        raise ValueError("messages must be a non-empty list")
    return tuple(read for index, message in enumerate(messages) for read in _read(message, f"messages[{index}]"))


def tools_from_openai(tools: object) -> tuple[ToolSpec, ...]:
    """Read the `tools` of a request: OpenAI's chat form, its flat Responses form, or MiniMax-M1's bare form.

    Raises:
        ValueError: with the index and the field of what can't be read, or for a name given twice.
    """
    if tools is None:
        return ()
    if not isinstance(tools, Sequence) or isinstance(tools, str | bytes):
        raise ValueError("tools must be a list")
    specs = tuple(_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))
    names = [spec.name for spec in specs]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ValueError(f"tools[{index}] repeats the name {name!r}")
    return specs


def _read(message: object, where: str) -> tuple[Message, ...]:
    if not isinstance(message, Mapping):
        raise ValueError(f"{where} must be an object, not {_kind(message)}")
    role = _ROLES.get(str(message.get("role")))
    if role is None:
        raise ValueError(f"{where}.role is {message.get('role')!r}; it must be one of {', '.join(_ROLES)}")
    content = message.get("content")
    if role == "tool":
        return _read_tool_results(message, content, where)
    text, num_images = _read_content("" if role == "assistant" and content is None else content, f"{where}.content")
    if role == "assistant":
        thinking_key = "reasoning_content" if message.get("reasoning_content") is not None else "reasoning"
        return (
            Message(
                role="assistant",
                content=text,
                thinking=_optional_string(message, thinking_key, where),
                tool_calls=_read_calls(message.get("tool_calls"), f"{where}.tool_calls"),
                num_unseen_images=num_images,
            ),
        )
    return (Message(role=role, content=text, num_unseen_images=num_images),)


def _read_tool_results(message: Mapping[str, Any], content: object, where: str) -> tuple[Message, ...]:
    call_id, name = (_optional_string(message, key, where) for key in ("tool_call_id", "name"))
    parts = content if isinstance(content, list) else []
    if parts and all(isinstance(part, Mapping) and isinstance(part.get("name"), str) for part in parts):
        read = [(part["name"], *_read_content([part], f"{where}.content")) for part in parts]
        return tuple(
            Message(role="tool", content=text, name=part_name, num_unseen_images=num_images)
            for part_name, text, num_images in read
        )
    if call_id is None and name is None:
        raise ValueError(f"{where}.tool_call_id is missing: a tool message says which call it answers")
    text, num_images = _read_content(content, f"{where}.content")
    return (Message(role="tool", content=text, tool_call_id=call_id, name=name, num_unseen_images=num_images),)


def _read_content(content: object, where: str) -> tuple[str, int]:
    """Return the text, and the number of images that it speaks of."""
    if isinstance(content, str):
        return _valid(content, where), 0
    if content is None:
        raise ValueError(f"{where} is missing")
    if not isinstance(content, list):
        raise ValueError(f"{where} must be a string or a list of text parts, not {_kind(content)}")
    texts, num_images = [], 0
    for index, part in enumerate(content):
        here = f"{where}[{index}]"
        if not isinstance(part, Mapping):
            raise ValueError(f"{here} must be an object, not {_kind(part)}")
        if part.get("type") in _IMAGE_PARTS:
            _check_image(part, here)
            texts.append(UNSEEN_IMAGE)
            num_images += 1
            continue
        key = _TEXT_PARTS.get(str(part.get("type")))
        if key is None:
            raise ValueError(f"{here}.type is {part.get('type')!r}; this model reads text only")
        text = part.get(key)
        if not isinstance(text, str):
            raise ValueError(f"{here}.{key} must be a string, not {_kind(text)}")
        texts.append(_valid(text, f"{here}.{key}"))
    return "\n".join(texts), num_images


def _check_image(part: Mapping[str, Any], where: str) -> None:
    """The chat form holds an object with the URL, the Responses form the URL itself or a file's id."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if not (isinstance(url, str) and url) and not isinstance(part.get("file_id"), str):
        raise ValueError(f"{where}.image_url must be the URL of an image, or an object with its url")


def _read_calls(calls: object, where: str) -> tuple[ToolCall, ...]:
    if calls is None:
        return ()
    if not isinstance(calls, list):
        raise ValueError(f"{where} must be a list, not {_kind(calls)}")
    read = []
    for index, call in enumerate(calls):
        here = f"{where}[{index}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(call, Mapping) or not isinstance(function, Mapping):
            raise ValueError(f"{here}.function must be an object with name and arguments")
        arguments = function.get("arguments", "{}")
        if isinstance(arguments, Mapping):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if not isinstance(arguments, str):
            raise ValueError(f"{here}.function.arguments must be a string of JSON, not {_kind(arguments)}")
        name = _name(function.get("name"), f"{here}.function.name")
        call_id = _optional_string(call, "id", here)
        read.append(
            ToolCall(id=call_id or "", name=name, arguments=_valid(arguments, f"{here}.function.arguments")),
        )
    return tuple(read)


def _read_tool(tool: object, where: str) -> ToolSpec:
    if not isinstance(tool, Mapping):
        raise ValueError(f"{where} must be an object, not {_kind(tool)}")
    if tool.get("type", "function") != "function":
        raise ValueError(f"{where}.type is {tool['type']!r}; only functions are supported")
    if "function" in tool:
        where, tool = f"{where}.function", tool["function"]
        if not isinstance(tool, Mapping):
            raise ValueError(f"{where} must be an object, not {_kind(tool)}")
    parameters = tool.get("parameters")
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    if not isinstance(parameters, Mapping):
        raise ValueError(f"{where}.parameters must be a JSON schema, not {_kind(parameters)}")
    strict = tool.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise ValueError(f"{where}.strict must be true or false, not {_kind(strict)}")
    return ToolSpec(
        name=_name(tool.get("name"), f"{where}.name"),
        description=_optional_string(tool, "description", where) or "",
        parameters=parameters,
        strict=strict is True,
    )


def _name(name: object, where: str) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where} must be a non-empty string")
    return _valid(name, where)


def _optional_string(source: Mapping[str, Any], key: str, where: str) -> str | None:
    value = source.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{where}.{key} must be a string, not {_kind(value)}")
    return None if value is None else _valid(value, f"{where}.{key}")


def _valid(text: str, where: str) -> str:
    """JSON can smuggle half of a surrogate pair into a string; no tokenizer can read it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} has an unpaired surrogate at character {error.start}") from None
    return text


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
