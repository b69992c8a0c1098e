"""From the engine's token events to what a user sees: bytes to text, stop strings cut, text to deltas.

Last station of a request before the wire; server and command line both end here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fulmen.chat.parser import Delta, ParsedReply, ReplyParser, Warning, collect, held_back
from fulmen.chat.tokenizer import IncrementalDecoder, Tokenizer
from fulmen.trace import FinishReason, TokenEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of one reply.

    Example: `Usage(completion_tokens=120, reasoning_tokens=100, cached_tokens=512)`.
    """

    completion_tokens: int
    """All tokens of the reply, forced ones and the end token included."""
    reasoning_tokens: int
    """Those of them that belong to the thinking, its tags included."""
    cached_tokens: int
    """Prompt tokens that came from the prefix store."""


class ReplyAssembler:
    """Puts one reply together from its token events.

    Example::

        assembler = ReplyAssembler(tokenizer, stop=params.stop)
        for event in events:
            for delta in assembler.feed(event):
                show(delta)
        assembler.reply.message(), assembler.finish_reason, assembler.usage
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stop: Sequence[str] = (),
        starts_in_thinking: bool = False,
        read_tool_calls: bool = True,
        constrained_calls: bool = False,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """Prepare for one reply; `stop` are the stop strings of its request, the rest is for `ReplyParser`."""
        self._token_bytes = tokenizer.token_bytes
        self._stop = tuple(stop)
        self._decoder = IncrementalDecoder()
        self._parser = ReplyParser(
            starts_in_thinking=starts_in_thinking,
            read_tool_calls=read_tool_calls,
            constrained_calls=constrained_calls,
            new_id=new_id,
        )
        self._held = ""
        self._deltas: list[Delta] = []
        self._completion_tokens = 0
        self._reasoning_tokens = 0
        self._thinking_counted = False
        self._cached_tokens = 0
        self.finish_reason: FinishReason | None = None
        """Why the reply ended; None while it goes on."""

    def feed(self, event: TokenEvent) -> list[Delta]:
        """Take the next event of this reply and return what it adds; the event with a finish reason ends it."""
        assert self.finish_reason is None, "the reply has ended"
        self._cached_tokens = event.cached_tokens
        self.finish_reason = event.finish_reason
        data = b""
        if event.token_id is not None:
            self._completion_tokens += 1
            data = self._token_bytes[event.token_id]
        text = self._held + self._decoder.feed(data)
        if event.finish_reason is None:
            held = max((held_back(text, stop) for stop in self._stop), default=0)
            text, self._held = text[: len(text) - held], text[len(text) - held :]
            deltas = self._parser.feed(text)
        else:
            text += self._decoder.finish()
            if event.stop_string is not None and event.stop_string in text:
                text = text[: text.index(event.stop_string)]
            deltas = self._parser.feed(text) + self._parser.finish()
            if event.finish_reason == "grammar":
                deltas.append(Warning("the answer broke off: perhaps no finite answer fits its schema"))
        self._count_thinking()
        self._deltas += deltas
        return deltas

    @property
    def reply(self) -> ParsedReply:
        """The reply as far as it has come."""
        return collect(self._deltas, thought=self._parser.thought)

    @property
    def usage(self) -> Usage:
        """The tokens counted so far."""
        return Usage(
            completion_tokens=self._completion_tokens,
            reasoning_tokens=self._reasoning_tokens,
            cached_tokens=self._cached_tokens,
        )

    def _count_thinking(self) -> None:
        """Thinking ends with the token that completes its closing tag; everything up to it counts."""
        if self._parser.thought and not self._thinking_counted:
            self._reasoning_tokens = self._completion_tokens
            self._thinking_counted = not self._parser.in_thinking
