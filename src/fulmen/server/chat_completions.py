"""`/v1/chat/completions`: messages in, a message or a stream of its pieces out."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from fulmen.chat.message import Message, messages_from_openai, tools_from_openai
from fulmen.chat.parser import Delta, TextDelta, ThinkingDelta, ToolCallArguments, ToolCallStart
from fulmen.chat.prompt import ChatPrompt
from fulmen.chat.reply import ReplyAssembler
from fulmen.chat.tokenizer import Tokenizer
from fulmen.chat.toolcalls import ToolChoice, response_schema_from_openai
from fulmen.server.errors import request_errors
from fulmen.server.generation import ChatOptions, Generation, RequestRecord, chat_prompt, check_length
from fulmen.server.logprobs import token_logprob
from fulmen.server.protocol import (
    Effort,
    Messages,
    ResponseFormat,
    SamplingFields,
    StreamOptions,
    ToolChoiceField,
    Tools,
    read_thinking_budget,
    wire_finish_reason,
    wire_stop_reason,
)
from fulmen.server.request_body import JsonRoute
from fulmen.server.served_model import ServedModel, fingerprint, served_model
from fulmen.server.stream import DONE, EventStream, sse, unless_disconnected
from fulmen.trace import SamplingParams, TokenEvent

router = APIRouter(route_class=JsonRoute)

_FIELDS = (
    "messages", "tools", "tool_choice", "response_format", "thinking_budget", "logit_bias", "stop",
    "max_tokens", "temperature", "top_p", "n",
)  # fmt: skip


class ChatCompletionRequest(SamplingFields):
    """The body of a chat request; `thinking_budget` and `keep_thinking` are Fulmen's own."""

    model: str
    messages: Messages
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: Tools = None
    tool_choice: ToolChoiceField = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat = None
    reasoning_effort: Effort | None = None
    thinking_budget: int | None = Field(default=None, ge=0)
    """Most tokens of thinking; 0 answers at once. Beats `reasoning_effort`."""
    keep_thinking: bool | None = None
    """Show the model its thinking in earlier replies too."""

    def messages_and_options(self) -> tuple[tuple[Message, ...], ChatOptions]:
        """Return what the prompt is made of; ValueError names the field that is wrong."""
        return messages_from_openai(self.messages), ChatOptions(
            tools=tools_from_openai(self.tools),
            tool_choice=ToolChoice.from_openai(self.tool_choice),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            response_schema=response_schema_from_openai(self.response_format),
            thinking_budget=read_thinking_budget(self.thinking_budget, self.reasoning_effort),
            keep_thinking=bool(self.keep_thinking),
        )

    @property
    def num_top_logprobs(self) -> int | None:
        """How many alternatives each token is reported with; None when no log-probabilities are asked for."""
        return (self.top_logprobs or 0) if self.logprobs else None


@router.post("/v1/chat/completions", response_model=None)
async def chat_completions(body: ChatCompletionRequest, request: Request) -> Response:
    """Answer a conversation."""
    served = served_model(request, body.model)
    with request_errors(*_FIELDS):
        prompt, params = await asyncio.to_thread(_plan, body, served)
    generation = await Generation.start(request, [prompt.ids], params, fields=_FIELDS)
    choices = [_Choice(index, prompt, params, served.tokenizer, body.num_top_logprobs) for index in range(params.n)]
    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk" if body.stream else "chat.completion",
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": fingerprint(served),
    }
    if body.stream:
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        frames = _stream(generation, choices, head, include_usage=usage)
        return EventStream(frames, close=generation.aclose, ping_seconds=request.app.state.options.ping_seconds)
    return await unless_disconnected(request, _whole(generation, choices, head), close=generation.aclose)


def chat_usage(record: RequestRecord, reasoning_tokens: int | None = None) -> dict[str, Any]:
    """Return the `usage` of chat and completions; the details of the reply only where it was read for thinking."""
    usage: dict[str, Any] = {
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "total_tokens": record.prompt_tokens + record.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": record.cached_tokens, "audio_tokens": 0},
    }
    if reasoning_tokens is not None:
        usage["completion_tokens_details"] = {
            "reasoning_tokens": reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    return usage


def _plan(body: ChatCompletionRequest, served: ServedModel) -> tuple[ChatPrompt, SamplingParams]:
    messages, options = body.messages_and_options()
    check_length(served, (message.content for message in messages))
    prompt = chat_prompt(served, messages, options)
    return prompt, body.sampling_params(
        served.defaults,
        vocab_size=served.tokenizer.vocab_size,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        top_logprobs=body.num_top_logprobs or 0,
        grammar=prompt.grammar,
        thinking_budget=prompt.thinking_budget,
    )


class _Choice:
    """One of the n replies on its way to the wire."""

    def __init__(
        self, index: int, prompt: ChatPrompt, params: SamplingParams, tokenizer: Tokenizer, num_top: int | None
    ) -> None:
        self._index = index
        self._tokenizer = tokenizer
        self._num_top = num_top
        self._warnings = prompt.warnings
        self._stop_reason: str | None = None
        self._logprobs: list[dict[str, Any]] = []
        self._num_sent = 0
        self.assembler: ReplyAssembler = prompt.assembler(tokenizer, stop=params.stop)

    def feed(self, event: TokenEvent) -> list[dict[str, Any]]:
        """Take an event and return the entries of `choices` that it adds to a stream."""
        if self._num_top is not None and event.token_id is not None:
            self._logprobs.append(token_logprob(self._tokenizer, event, self._num_top))
        deltas = self.assembler.feed(event)
        entries = [self._entry(piece) for piece in map(_delta, deltas) if piece]
        if event.finish_reason is not None:
            self._stop_reason = wire_stop_reason(event)
            entries.append({**self._entry({}), **self._ending})
        return entries

    def opening(self) -> dict[str, Any]:
        """Return the first entry of the stream, which names the role."""
        return self._entry({"role": "assistant", "content": "", "refusal": None})

    def whole(self) -> dict[str, Any]:
        """Return the entry of a finished reply that is not streamed."""
        reply = self.assembler.reply
        message = {**reply.message().to_openai(), "refusal": None, "annotations": []}
        logprobs = None if self._num_top is None else {"content": self._logprobs, "refusal": None}
        return {"index": self._index, "message": message, "logprobs": logprobs, **self._ending}

    def _entry(self, delta: dict[str, Any]) -> dict[str, Any]:
        # Tokens whose text is still held back come with the next piece.
        fresh, self._num_sent = self._logprobs[self._num_sent :], len(self._logprobs)
        logprobs = {"content": fresh, "refusal": None} if fresh else None
        return {"index": self._index, "delta": delta, "logprobs": logprobs, "finish_reason": None}

    @property
    def _ending(self) -> dict[str, Any]:
        reason, reply = self.assembler.finish_reason, self.assembler.reply
        assert reason is not None, "the engine ended a reply without saying why"
        ending: dict[str, Any] = {
            "finish_reason": wire_finish_reason(reason, called_tools=bool(reply.tool_calls)),
            "stop_reason": self._stop_reason,
        }
        if warnings := [*self._warnings, *reply.warnings]:
            ending["warnings"] = warnings
        return ending


def _delta(delta: Delta) -> dict[str, Any]:
    match delta:
        case ThinkingDelta():
            return {"reasoning_content": delta.text}
        case TextDelta():
            return {"content": delta.text}
        case ToolCallStart():
            function = {"name": delta.name, "arguments": ""}
            return {"tool_calls": [{"index": delta.index, "id": delta.id, "type": "function", "function": function}]}
        case ToolCallArguments():
            return {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.text}}]}
    return {}  # warnings come with the last piece


async def _whole(generation: Generation, choices: list[_Choice], head: dict[str, Any]) -> Response:
    async for _, event in generation.events():
        choices[event.choice].feed(event)
    usage = chat_usage(generation.record, _reasoning_tokens(choices))
    return JSONResponse({**head, "choices": [choice.whole() for choice in choices], "usage": usage})


async def _stream(
    generation: Generation, choices: list[_Choice], head: dict[str, Any], *, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    tail = {"usage": None} if include_usage else {}
    for choice in choices:
        yield sse({**head, "choices": [choice.opening()], **tail})
    async for _, event in generation.events():
        for entry in choices[event.choice].feed(event):
            yield sse({**head, "choices": [entry], **tail})
    if include_usage:
        yield sse({**head, "choices": [], "usage": chat_usage(generation.record, _reasoning_tokens(choices))})
    yield DONE


def _reasoning_tokens(choices: list[_Choice]) -> int:
    return sum(choice.assembler.usage.reasoning_tokens for choice in choices)
