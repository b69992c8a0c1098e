"""Read a reply's text into thinking, text and tool calls, piece by piece: the inverse of `reply_format`.

Text goes in as tokens bring it, deltas come out as soon as they are certain; where the pieces are cut never changes
the result, and `parse` is the same code fed once. Nothing is dropped but the tags and the line breaks that belong to
them (see `reply_format`), and nothing raises: what should be a tool call and is none is passed on as text, on a line
of its own, with a `Warning`.

The states, in the order that a reply passes them::

    START --<think>--> THINKING --</think>--> TEXT --<tool_calls>--> CALLS --</tool_calls>--> BETWEEN
      |                                        ^                       ^                         |
      +---------- anything else ---------------+<----- anything -------+------<tool_calls>-------+

Inside the thinking only `</think>` means anything; `<think>` opens a thinking only where the reply begins, after
white space at most; text after the calls stands on a new line.
"""

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from fulmen.chat.call_reader import CallArguments, CallReader, CallStart, Malformed, is_json_object
from fulmen.chat.message import Message, ToolCall
from fulmen.chat.reply_format import CALLS_CLOSE, CALLS_OPEN, THINK_CLOSE, THINK_OPEN


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More of the thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """Tool call number `index` (from 0) begins; its arguments follow."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """More of the JSON text of the arguments of call number `index`."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Warning:
    """What was wrong with the reply, for a human."""

    text: str


Delta = ThinkingDelta | TextDelta | ToolCallStart | ToolCallArguments | Warning


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedReply:
    """A whole reply.

    Example: `ParsedReply(thinking="Simple.", text="Paris.", tool_calls=(), warnings=())`.
    """

    thinking: str | None
    """None when the reply has none, "" when it opened and closed it."""
    text: str
    tool_calls: tuple[ToolCall, ...]
    warnings: tuple[str, ...]

    def message(self) -> Message:
        """Return the reply as the assistant's message."""
        return Message(role="assistant", content=self.text, thinking=self.thinking, tool_calls=self.tool_calls)


class _State(Enum):
    START = auto()
    OPENED = auto()
    """After `<think>`, before the line break that belongs to it."""
    THINKING = auto()
    CLOSED = auto()
    """After `</think>`, before the two line breaks that belong to it."""
    TEXT = auto()
    CALLS = auto()
    BETWEEN = auto()
    """After `</tool_calls>`: white space, until text or more calls follow."""


class ReplyParser:
    """Turns a growing reply into deltas.

    Example::

        parser = ReplyParser()
        parser.feed("<think>\\nHm")  # [ThinkingDelta("Hm")]
        parser.feed("m.\\n</th")  # [ThinkingDelta("m.")]
        parser.feed("ink>\\n\\nYes")  # [TextDelta("Yes")]
        parser.finish()  # []
    """

    def __init__(
        self,
        *,
        starts_in_thinking: bool = False,
        read_tool_calls: bool = True,
        constrained_calls: bool = False,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """Prepare for one reply.

        Args:
            starts_in_thinking: the prompt ended inside the thinking.
            read_tool_calls: False leaves `<tool_calls>` in the text, for a request without tools.
            constrained_calls: a grammar holds the calls to their form. Arguments are then passed on while they grow;
                otherwise a call is passed on when its line is known to be good.
            new_id: makes the ids of calls; random by default.
        """
        self._state = _State.THINKING if starts_in_thinking else _State.START
        self._buffer = ""
        self._read_tool_calls = read_tool_calls
        self._constrained_calls = constrained_calls
        self._calls = CallReader(stream=constrained_calls)
        self._new_id = new_id or (lambda: f"call_{uuid.uuid4().hex[:24]}")
        self._num_calls = 0
        self._breaks_left = 0
        self._has_text = False
        self._new_line = False
        self._finished = False
        self.thought = starts_in_thinking
        """Whether the reply has thinking, finished or not."""

    @property
    def in_thinking(self) -> bool:
        """Whether the reply is inside its thinking now."""
        return self._state in (_State.OPENED, _State.THINKING)

    def feed(self, text: str) -> list[Delta]:
        """Read on, and return what has become certain."""
        assert not self._finished, "the reply has been finished"
        self._buffer += text
        return self._run(final=False)

    def finish(self) -> list[Delta]:
        """Return what was held back; the reply ends here, whatever was open."""
        assert not self._finished, "the reply has been finished"
        deltas = self._run(final=True)
        self._finished = True
        return deltas

    def _run(self, final: bool) -> list[Delta]:
        steps = {
            _State.START: self._start,
            _State.OPENED: self._opened,
            _State.THINKING: self._thinking,
            _State.CLOSED: self._closed,
            _State.TEXT: self._text,
            _State.CALLS: self._tool_calls,
            _State.BETWEEN: self._between,
        }
        deltas: list[Delta] = []
        state = None
        while state is not self._state:  # a step that leaves the state as it is has used what it can
            state = self._state
            deltas += steps[state](final)
        return deltas

    def _start(self, final: bool) -> list[Delta]:
        text = self._buffer.lstrip()
        if text.startswith(THINK_OPEN):
            self._buffer = text[len(THINK_OPEN) :]
            self._state, self.thought = _State.OPENED, True
        elif final or not THINK_OPEN.startswith(text):
            self._state = _State.TEXT
        return []

    def _opened(self, final: bool) -> list[Delta]:
        if self._buffer or final:
            self._buffer = self._buffer.removeprefix("\n")
            self._state = _State.THINKING
        return []

    def _thinking(self, final: bool) -> list[Delta]:
        thinking, found = self._take_until(THINK_CLOSE, final)
        if found:
            self._state, self._breaks_left = _State.CLOSED, 2
        return [ThinkingDelta(thinking)] if thinking else []

    def _closed(self, final: bool) -> list[Delta]:
        while self._breaks_left and self._buffer.startswith("\n"):
            self._buffer = self._buffer[1:]
            self._breaks_left -= 1
        if self._buffer or not self._breaks_left or final:
            self._state = _State.TEXT
        return []

    def _text(self, final: bool) -> list[Delta]:
        if not self._read_tool_calls:
            text, self._buffer = self._buffer, ""
            return self._emit_text(text)
        text, found = self._take_until(CALLS_OPEN, final)
        if found:
            self._state = _State.CALLS
        return self._emit_text(text)

    def _between(self, final: bool) -> list[Delta]:
        self._buffer = self._buffer.lstrip()
        if self._buffer:
            self._new_line = self._has_text
            self._state = _State.TEXT
        return []

    def _tool_calls(self, final: bool) -> list[Delta]:
        pieces, self._buffer, closed = self._calls.read(self._buffer, final)
        deltas: list[Delta] = []
        for piece in pieces:
            if isinstance(piece, CallStart):
                deltas.append(ToolCallStart(self._num_calls, self._new_id(), piece.name))
                self._num_calls += 1
            elif isinstance(piece, CallArguments):
                deltas.append(ToolCallArguments(self._num_calls - 1, piece.text))
            else:
                deltas += self._emit_malformed(piece)
        if closed:
            self._state = _State.BETWEEN
            self._calls = CallReader(stream=self._constrained_calls)
        elif final:
            deltas.append(Warning(f"the reply ended before {CALLS_CLOSE}"))
        return deltas

    def _take_until(self, tag: str, final: bool) -> tuple[str, bool]:
        """Take the text before `tag` and its line break, or as much as can't be part of them; say if it was found."""
        place = self._buffer.find(tag)
        if place >= 0:
            text, self._buffer = self._buffer[:place], self._buffer[place + len(tag) :]
            return text.removesuffix("\n"), True
        held = 0 if final else max(held_back(self._buffer, tag), held_back(self._buffer, "\n" + tag))
        text, self._buffer = self._buffer[: len(self._buffer) - held], self._buffer[len(self._buffer) - held :]
        return text, False

    def _emit_text(self, text: str) -> list[Delta]:
        if not text:
            return []
        line = "\n" + text if self._new_line else text
        self._new_line, self._has_text = False, True
        return [TextDelta(line)]

    def _emit_malformed(self, piece: Malformed) -> list[Delta]:
        self._new_line = self._has_text
        return [*self._emit_text(piece.text), Warning(piece.reason)]


def parse(text: str, *, starts_in_thinking: bool = False, read_tool_calls: bool = True) -> ParsedReply:
    """Read a whole reply."""
    parser = ReplyParser(starts_in_thinking=starts_in_thinking, read_tool_calls=read_tool_calls)
    return collect([*parser.feed(text), *parser.finish()], thought=parser.thought)


def collect(deltas: Iterable[Delta], *, thought: bool = False) -> ParsedReply:
    """Put deltas together; `thought` says that there was thinking even if it was empty.

    Constrained calls are passed on while they grow. One whose arguments never became a JSON object, as the reply was
    cut off, is no call in the end: it becomes text, on a line of its own.
    """
    thinking: list[str] = []
    text: list[str] = []
    started: list[tuple[ToolCallStart, list[str]]] = []
    warnings: list[str] = []
    for delta in deltas:
        match delta:
            case ThinkingDelta():
                thinking.append(delta.text)
            case TextDelta():
                text.append(delta.text)
            case ToolCallStart():
                started.append((delta, []))
            case ToolCallArguments():
                started[delta.index][1].append(delta.text)
            case Warning():
                warnings.append(delta.text)
    calls = [ToolCall(id=call.id, name=call.name, arguments="".join(parts)) for call, parts in started]
    broken = [
        f'{{"name": {json.dumps(call.name, ensure_ascii=False)}, "arguments": {call.arguments}'
        for call in calls
        if not is_json_object(call.arguments)
    ]
    return ParsedReply(
        thinking="".join(thinking) if thinking or thought else None,
        text="\n".join(["".join(text)] * bool(text) + broken),
        tool_calls=tuple(call for call in calls if is_json_object(call.arguments)),
        warnings=tuple(warnings),
    )


def held_back(text: str, tag: str) -> int:
    """Return how many of the last characters of `text` could be the beginning of `tag` (and not all of it)."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0
