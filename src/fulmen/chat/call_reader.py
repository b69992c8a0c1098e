"""Read the inside of a `<tool_calls>` block: one JSON object a line, `{"name": ..., "arguments": {...}}`.

The part of `parser` that knows JSON. An object is found by counting brackets outside of strings, so that a tag inside
a string ends nothing, and is trusted only once the `json` module has read it. Tolerated beside the published form:
keys in another order, `parameters` for `arguments`, arguments given as a string that holds a JSON object, or left
out. A line break inside an object ends it: the format is one object a line, and one broken line must not swallow the
next.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from fulmen.chat.reply_format import CALLS_CLOSE

_HEAD = re.compile(
    r'\{[ \t]*"name"[ \t]*:[ \t]*(?P<name>"(?:[^"\\\n]|\\.)*")[ \t]*,'
    r'[ \t]*"(?:arguments|parameters)"[ \t]*:[ \t]*(?=\{)'
)


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call begins."""

    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of the arguments of the call that began last."""

    text: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """Text of the block that is no call, and why."""

    text: str
    reason: str


Piece = CallStart | CallArguments | Malformed


class _ObjectEnd:
    """Finds the bracket that closes a JSON object, reading on where it stopped."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def find(self, text: str, start: int) -> tuple[int, bool]:
        """Return how far `text` was read from `start`, and whether the object ended there.

        Reading stops before a line break, which no object may contain.
        """
        for place in range(start, len(text)):
            char = text[place]
            if char == "\n":
                return place, False
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = char == "\\"
                self._in_string = char != '"'
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return place + 1, True
        return len(text), False


class CallReader:
    """Reads one block. The caller keeps the unread text and hands it in again with more behind it."""

    def __init__(self, *, stream: bool) -> None:
        """`stream`: pass arguments on while they grow, as what begins like a call is sure to be one."""
        self._stream = stream
        self._object = _ObjectEnd()
        self._scanned = 0
        self._streamed: _StreamedCall | None = None

    def read(self, text: str, final: bool) -> tuple[list[Piece], str, bool]:
        """Return the pieces found in `text`, the text still unread, and whether the block was closed.

        Args:
            text: what was left unread before, and more.
            final: nothing follows, so that nothing may be left unread.
        """
        pieces: list[Piece] = []
        before = None
        while before != (text, self._streamed):  # until a round brings nothing
            before = (text, self._streamed)
            if self._streamed is not None:
                text = self._stream_arguments(self._streamed, text, final, pieces)
                continue
            text = text if self._scanned else text.lstrip()
            if text.startswith(CALLS_CLOSE):
                return pieces, text[len(CALLS_CLOSE) :], True
            if text.startswith("{"):
                text = self._read_object(text, final, pieces)
            elif not CALLS_CLOSE.startswith(text):
                text = self._read_junk(text, final, pieces)
            elif final:  # the closing tag, cut off
                text = ""
        return pieces, text, False

    def _read_object(self, text: str, final: bool, pieces: list[Piece]) -> str:
        if self._stream and (head := _HEAD.match(text)) and (name := _load_name(head["name"])):
            pieces.append(CallStart(name))
            self._object, self._scanned, self._streamed = _ObjectEnd(), 0, _StreamedCall()
            return text[head.end() :]
        self._scanned, ended = self._object.find(text, self._scanned)
        line = text[: self._scanned]
        if ended:
            try:
                pieces += _load_call(line)
            except ValueError as error:
                pieces.append(Malformed(line, f"a tool call could not be read: {error}"))
        elif final or self._scanned < len(text):
            line = line.split(CALLS_CLOSE)[0]
            pieces.append(Malformed(line, "a tool call could not be read: its JSON object is not closed on its line"))
        else:
            return text
        self._object, self._scanned = _ObjectEnd(), 0
        return text[len(line) :]

    def _read_junk(self, text: str, final: bool, pieces: list[Piece]) -> str:
        ends = [place for place in (text.find("\n"), text.find(CALLS_CLOSE)) if place >= 0]
        if not ends and not final:
            return text
        end = min(ends, default=len(text))
        pieces.append(Malformed(text[:end].rstrip(), "text among the tool calls is no JSON object"))
        return text[end:]

    def _stream_arguments(self, call: "_StreamedCall", text: str, final: bool, pieces: list[Piece]) -> str:
        """Pass on the arguments of the call that began, then read the bracket that closes the call."""
        if not call.complete:
            end, call.complete = call.object.find(text, 0)
            if end:
                call.arguments.append(text[:end])
                pieces.append(CallArguments(text[:end]))
            text = text[end:]
        text = text.lstrip(" \t") if call.complete else text
        if not text and not final:
            return text
        closed = call.complete and text.startswith("}")
        if not closed or not is_json_object("".join(call.arguments)):
            pieces.append(Malformed("", "a tool call was cut off or is no JSON"))
        self._streamed = None
        return text[1:] if closed else text


class _StreamedCall:
    """A call whose arguments are passed on while they grow."""

    def __init__(self) -> None:
        self.object = _ObjectEnd()
        self.arguments: list[str] = []
        self.complete = False


def _load_call(line: str) -> list[Piece]:
    """Read one call; ValueError says what is wrong with it."""
    call = _load(line)
    name = call.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("it has no name")
    arguments = call.get("arguments", call.get("parameters"))
    if isinstance(arguments, dict):
        # The model's own spelling where the usual order shows where it stands.
        head = _HEAD.match(line)
        end = _ObjectEnd().find(line, head.end())[0] if head else 0
        arguments = line[head.end() : end] if head else json.dumps(arguments, ensure_ascii=False)
    elif isinstance(arguments, str):
        _load(arguments)
    elif arguments is None:
        arguments = "{}"
    else:
        raise ValueError("its arguments are no JSON object")
    (name + arguments).encode()  # UnicodeEncodeError, a ValueError: half of a surrogate pair can't be sent to anyone
    return [CallStart(name), CallArguments(arguments)]


def _load_name(text: str) -> str | None:
    try:
        name = json.loads(text)
        name.encode()
    except ValueError:
        return None
    return str(name)


def is_json_object(text: str) -> bool:
    """Whether a text is one JSON object, as the arguments of a call must be."""
    try:
        _load(text)
    except ValueError:
        return False
    return True


def _load(text: str) -> Mapping[str, Any]:
    """Read a JSON object strictly: no NaN, no Infinity, no nesting beyond what the reader stands."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("its arguments are no JSON object")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
