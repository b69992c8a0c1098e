"""A conversation with one model: messages in, deltas out. What `fulmen chat` does, without a terminal.

Between the command line and the same three calls that the server makes: `chat.prompt.build_prompt`, the engine's
service, and a `ReplyAssembler`. The transcript lives here; the engine recognises its tokens by their prefix.
"""

import dataclasses
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.parser import Delta
from fulmen.chat.prompt import build_prompt
from fulmen.chat.reply import ReplyAssembler
from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer
from fulmen.trace import FinishReason, SamplingParams

if TYPE_CHECKING:
    from fulmen.engine.service import Service


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyStats:
    """What one reply cost.

    Example: `ReplyStats(prompt_tokens=42, cached_tokens=31, completion_tokens=9, reasoning_tokens=0,
    prefill_seconds=0.05, decode_seconds=0.11, finish_reason="stop")`.
    """

    prompt_tokens: int
    cached_tokens: int
    """Prompt tokens that were known from earlier turns or from a reopened context."""
    completion_tokens: int
    reasoning_tokens: int
    prefill_seconds: float
    """From the request to the first token."""
    decode_seconds: float
    """From the first token to the last."""
    finish_reason: FinishReason | None
    """None when the user stopped the reply."""

    @property
    def cut_short(self) -> str | None:
        """Why the reply ended before its model or its reader meant it to; None if it did not."""
        if self.finish_reason == "length":
            return f"Cut after {self.completion_tokens:,} tokens; --max-tokens sets the limit."
        if self.finish_reason == "repetition":
            return f"Stopped after {self.completion_tokens:,} tokens: the model repeats itself."
        return None

    @property
    def prefill_speed(self) -> float:
        """Computed prompt tokens per second."""
        return (self.prompt_tokens - self.cached_tokens) / max(self.prefill_seconds, 1e-9)

    @property
    def decode_speed(self) -> float:
        """Tokens of the reply per second, the first left out; 0 when there was one alone."""
        return (self.completion_tokens - 1) / self.decode_seconds if self.completion_tokens > 1 else 0.0


class ChatSession:
    """The transcript and options of a conversation.

    Example::

        session = ChatSession(service, tokenizer, template, params=SamplingParams(temperature=0.0))
        async for delta in session.ask("What is the capital of France?"):
            ...  # TextDelta("The"), TextDelta(" capital"), ...
        session.messages[-1]  # Message(role="assistant", content="The capital of France is Paris.")
    """

    def __init__(
        self,
        service: "Service",
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        params: SamplingParams,
        messages: Sequence[Message] = (),
        thinking_budget: int | None = None,
    ) -> None:
        """Begin with `messages`, for example a system message; `params` hold for every reply."""
        self._service = service
        self._tokenizer = tokenizer
        self._template = template
        self._params = params
        self.messages = list(messages)
        self.tools: tuple[ToolSpec, ...] = ()
        self.thinking_budget = thinking_budget
        self.thinks = template.thinks
        """Whether the model was trained to think."""
        self.stats: list[ReplyStats] = []
        """Of every reply, in order."""

    @property
    def system(self) -> str | None:
        """The system message, if there is one."""
        first = self.messages[0] if self.messages else None
        return first.content if first is not None and first.role == "system" else None

    @system.setter
    def system(self, text: str | None) -> None:
        """Replace it; None or "" takes it away."""
        rest = self.messages[1:] if self.system is not None else self.messages
        self.messages = ([Message(role="system", content=text)] if text else []) + rest

    def clear(self) -> None:
        """Forget everything but the system message."""
        self.messages = self.messages[:1] if self.system is not None else []

    def ask(self, text: str) -> AsyncGenerator[Delta, None]:
        """Add a message of the user and stream the reply, as `reply` does."""
        return self.reply(Message(role="user", content=text))

    async def retry(self) -> AsyncGenerator[Delta, None]:
        """Answer the user's last message again; what followed it comes back when nothing is said.

        Raises:
            ValueError: there is no message to answer, or the prompt can't be answered.
        """
        place = max((i for i, message in enumerate(self.messages) if message.role == "user"), default=None)
        if place is None:
            raise ValueError("there is no message to answer again")
        before = list(self.messages)
        del self.messages[place + 1 :]
        try:
            async with aclosing(self.reply()) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            if len(self.messages) == place + 1:
                self.messages = before

    async def reply(self, *new: Message) -> AsyncGenerator[Delta, None]:
        """Add messages and stream the assistant's next one. Closing the iterator stops it; what was said is kept.

        When nothing was said, the new messages are taken back: many templates refuse two messages of the user in a row.

        Raises:
            ValueError: the prompt can't be answered.
        """
        before = len(self.messages)
        self.messages += new
        try:
            async with aclosing(self._stream()) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            if len(self.messages) == before + len(new):
                del self.messages[before:]

    async def _stream(self) -> AsyncGenerator[Delta, None]:
        prompt = build_prompt(
            self.messages,
            tokenizer=self._tokenizer,
            template=self._template,
            tools=self.tools,
            thinking_budget=self.thinking_budget,
        )
        params = dataclasses.replace(self._params, grammar=prompt.grammar, thinking_budget=prompt.thinking_budget)
        assembler = prompt.assembler(self._tokenizer, stop=params.stop)
        times = [time.perf_counter()]
        try:
            async with aclosing(await self._service.submit(prompt.ids, params)) as events:
                async for event in events:
                    times.append(time.perf_counter())
                    for delta in assembler.feed(event):
                        yield delta
        finally:
            if len(times) > 1:
                self._keep(assembler, len(prompt.ids), times)

    def _keep(self, assembler: ReplyAssembler, prompt_tokens: int, times: Sequence[float]) -> None:
        """Write down a reply, finished or stopped; `times` are those of the request and of each token."""
        self.messages.append(assembler.reply.message())
        usage = assembler.usage
        self.stats.append(
            ReplyStats(
                prompt_tokens=prompt_tokens,
                cached_tokens=usage.cached_tokens,
                completion_tokens=usage.completion_tokens,
                reasoning_tokens=usage.reasoning_tokens,
                prefill_seconds=times[1] - times[0],
                decode_seconds=times[-1] - times[1],
                finish_reason=assembler.finish_reason,
            )
        )
