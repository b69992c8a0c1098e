"""One HTTP request's generation: options to a prompt, the prompt to token events, counted as they pass.

Between the endpoints and the engine; all three generating endpoints come through here. Closing a `Generation`
closes the engine's iterators, which cancels the work and frees its pages.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.prompt import ChatPrompt, build_prompt
from fulmen.chat.toolcalls import AUTO, ToolChoice
from fulmen.engine.request import ContextTooLong
from fulmen.engine.service import EngineFailed
from fulmen.server.errors import request_errors
from fulmen.server.metrics import ServerMetrics
from fulmen.server.served_model import ServedModel
from fulmen.trace import SamplingParams, TokenEvent


@dataclass(slots=True)
class RequestRecord:
    """What one HTTP request used, for its log line and its `usage`; filled in while it runs.

    Example: `RequestRecord(prompt_tokens=12, cached_tokens=8, completion_tokens=40)`.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    generated: bool = field(default=False)
    """Whether the request reached the engine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatOptions:
    """What a chat asks for beside its messages, whichever API it came through.

    Example: `ChatOptions(tools=(weather,), tool_choice=ToolChoice(mode="required"))`.
    """

    tools: Sequence[ToolSpec] = ()
    tool_choice: ToolChoice = AUTO
    parallel_tool_calls: bool = True
    response_schema: Mapping[str, Any] | None = None
    thinking_budget: int | None = None
    keep_thinking: bool = False


def chat_prompt(served: ServedModel, messages: Sequence[Message], options: ChatOptions) -> ChatPrompt:
    """Render a conversation for the model; ValueError names what is wrong with it. Takes time for long texts."""
    return build_prompt(
        messages,
        tokenizer=served.tokenizer,
        template=served.template,
        tools=options.tools,
        tool_choice=options.tool_choice,
        parallel_tool_calls=options.parallel_tool_calls,
        response_schema=options.response_schema,
        thinking_budget=served.thinking_budget if options.thinking_budget is None else options.thinking_budget,
        keep_thinking=options.keep_thinking,
    )


def check_length(served: ServedModel, texts: Iterable[str]) -> None:
    """Refuse with `ContextTooLong`, before the work of tokenizing, what fits the context by no tokens whatever."""
    least = sum(served.tokenizer.least_tokens(text) for text in texts)
    if least >= served.max_context:
        raise ContextTooLong(
            f"the prompt has {least:,} tokens or more; the context is {served.max_context:,}, reply included"
        )


class Generation:
    """The token events of one HTTP request, whose prompts are answered side by side.

    Example::

        generation = await Generation.start(request, [prompt.ids], params, fields=("messages",))
        async with aclosing(generation):
            async for prompt_index, event in generation.events():
                ...
    """

    def __init__(
        self, request: Request, streams: Sequence[AsyncGenerator[TokenEvent, None]], fields: Sequence[str]
    ) -> None:
        """Read `streams`, one for each prompt; `start` is the way to make one."""
        self._request = request
        self._streams = streams
        self._fields = fields
        self._metrics: ServerMetrics = request.app.state.metrics
        self.record: RequestRecord = request.state.record
        self._started = time.perf_counter()
        self._last_token: dict[tuple[int, int], float] = {}
        self._cached = [0] * len(streams)
        self._pumps: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls, request: Request, prompts: Sequence[Sequence[int]], params: SamplingParams, *, fields: Sequence[str]
    ) -> "Generation":
        """Queue the prompts.

        Raises:
            ApiError: 400 when the engine refuses a prompt or an option, `fields` being those it can speak of, the
                prompt's first; 429 when its queue is full.
        """
        served: ServedModel = request.app.state.served
        streams: list[AsyncGenerator[TokenEvent, None]] = []
        try:
            with _engine_errors(request, fields):
                if len(prompts) > 1 and len(prompts) * params.n > (limit := served.service.max_open):
                    of_each = f"n is {params.n} for each of {len(prompts)} prompts"
                    raise ValueError(f"{of_each}; at most {limit} replies may be open at once")
                for prompt in prompts:
                    streams.append(await served.service.submit(prompt, params))
        except BaseException:  # a cancellation too
            for stream in streams:
                await stream.aclose()
            raise
        generation = cls(request, streams, fields)
        generation.record.prompt_tokens = sum(map(len, prompts))
        generation.record.generated = True
        generation._metrics.prompt_tokens.inc(generation.record.prompt_tokens)
        return generation

    async def aclose(self) -> None:
        """Cancel what still runs."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for stream in self._streams:
            await stream.aclose()

    async def events(self) -> AsyncIterator[tuple[int, TokenEvent]]:
        """Yield (index of the prompt, event) as they come; raises as `start` for what the engine finds out later."""
        events = self._interleaved()
        while True:
            with _engine_errors(self._request, self._fields):
                item = await anext(events, None)
            if item is None:
                return
            self._count(*item)
            yield item

    async def _interleaved(self) -> AsyncIterator[tuple[int, TokenEvent]]:
        if len(self._streams) == 1:
            async for event in self._streams[0]:
                yield 0, event
            return
        queue: _Queue = asyncio.Queue()
        self._pumps = [asyncio.create_task(_pump(i, stream, queue)) for i, stream in enumerate(self._streams)]
        num_open = len(self._pumps)
        while num_open:
            index, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                num_open -= 1
            else:
                yield index, item

    def _count(self, prompt: int, event: TokenEvent) -> None:
        now = time.perf_counter()
        if event.token_id is not None:
            key = (prompt, event.choice)
            if key in self._last_token:
                self._metrics.inter_token_seconds.observe(now - self._last_token[key])
            else:
                self._metrics.first_token_seconds.observe(now - self._started)
            self._last_token[key] = now
            self.record.completion_tokens += 1
            self._metrics.generation_tokens.inc()
        # Of a prompt's n choices the later ones may find what the first has computed: the best one counts.
        found = max(event.cached_tokens - self._cached[prompt], 0)
        self._metrics.cached_tokens.inc(found)
        self.record.cached_tokens += found
        self._cached[prompt] += found
        if event.finish_reason is not None:
            self._metrics.finished(event.finish_reason, now - self._started)


@contextmanager
def _engine_errors(request: Request, fields: Sequence[str]) -> Iterator[None]:
    """Tell the client what it did wrong, and `/health` when the engine is dead."""
    try:
        with request_errors(*fields):
            yield
    except EngineFailed:
        request.app.state.gate.engine_failed = True
        raise


_Queue = asyncio.Queue[tuple[int, TokenEvent | Exception | None]]


async def _pump(index: int, stream: AsyncGenerator[TokenEvent, None], queue: _Queue) -> None:
    try:
        async for event in stream:
            queue.put_nowait((index, event))
        queue.put_nowait((index, None))
    except Exception as error:  # the reader of the queue raises it
        queue.put_nowait((index, error))
