"""`/v1/completions`: text or token ids on which the model goes on, without template, thinking or tools."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from fulmen.chat.parser import held_back
from fulmen.chat.tokenizer import IncrementalDecoder, Tokenizer
from fulmen.server.chat_completions import chat_usage
from fulmen.server.errors import request_errors
from fulmen.server.generation import Generation, check_length
from fulmen.server.logprobs import completion_logprobs
from fulmen.server.protocol import SamplingFields, StreamOptions, wire_finish_reason, wire_stop_reason
from fulmen.server.request_body import JsonRoute
from fulmen.server.served_model import ServedModel, fingerprint, served_model
from fulmen.server.stream import DONE, EventStream, sse, unless_disconnected
from fulmen.trace import SamplingParams, TokenEvent

router = APIRouter(route_class=JsonRoute)

_FIELDS = ("prompt", "logit_bias", "stop", "max_tokens", "temperature", "top_p", "n")
_MAX_PROMPTS = 256
_MAX_TOKENS = 16  # OpenAI's default for this endpoint

TokenIds = list[Annotated[int, Field(ge=0)]]


class CompletionRequest(SamplingFields):
    """The body of a completion request."""

    model: str
    prompt: str | list[str] | TokenIds | list[TokenIds]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: bool | None = None
    best_of: int | None = Field(default=None, ge=1)
    suffix: str | None = None

    def prompts(self, served: ServedModel) -> tuple[list[list[int]], list[str]]:
        """Return the prompts as ids and as texts. Control tokens in texts are read as such: all is the developer's.

        Raises:
            ValueError: a prompt is empty, far too long or holds an unknown id, or an option is not supported.
        """
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError(f"best_of is {self.best_of}; only the value of n is supported")
        if self.suffix:
            raise ValueError("suffix is not supported: the model writes from left to right")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo with logprobs is not supported: prompts are not scored")
        given: Sequence[str | list[int]]
        if isinstance(self.prompt, str) or (self.prompt and isinstance(self.prompt[0], int)):
            given = [self.prompt]  # a list whose first entry is a number holds numbers
        else:
            given = self.prompt  # type: ignore[assignment]  # texts or lists of numbers
        if not 0 < len(given) <= _MAX_PROMPTS:
            raise ValueError(f"prompt has {len(given)} entries; it must have 1 to {_MAX_PROMPTS}")
        ids = [_prompt_ids(served, prompt) for prompt in given]
        return ids, [
            prompt if isinstance(prompt, str) else served.tokenizer.decode(prompt, skip_special=False)
            for prompt in given
        ]


@router.post("/v1/completions", response_model=None)
async def completions(body: CompletionRequest, request: Request) -> Response:
    """Continue each prompt."""
    served = served_model(request, body.model)
    with request_errors(*_FIELDS):
        prompts, texts = await asyncio.to_thread(body.prompts, served)
        params = body.sampling_params(
            served.defaults,
            vocab_size=served.tokenizer.vocab_size,
            max_tokens=body.max_tokens or served.defaults.max_tokens or _MAX_TOKENS,
            top_logprobs=body.logprobs or 0,
        )
    generation = await Generation.start(request, prompts, params, fields=_FIELDS)
    choices = [
        _Choice(
            index, served.tokenizer, params, num_top=body.logprobs, echo=texts[index // params.n] if body.echo else ""
        )
        for index in range(len(prompts) * params.n)
    ]
    head = {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": fingerprint(served),
    }
    job = _Job(generation, choices, params.n, head)
    if body.stream:
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        frames = job.stream(include_usage=usage)
        return EventStream(frames, close=generation.aclose, ping_seconds=request.app.state.options.ping_seconds)
    return await unless_disconnected(request, job.whole(), close=generation.aclose)


class _Choice:
    """One reply: bytes to text, stop strings cut."""

    def __init__(
        self, index: int, tokenizer: Tokenizer, params: SamplingParams, *, num_top: int | None, echo: str
    ) -> None:
        self._index = index
        self._tokenizer = tokenizer
        self._stop = params.stop
        self._num_top = num_top
        self._echo = echo
        self._decoder = IncrementalDecoder()
        self._held = ""
        self._pending: list[TokenEvent] = []
        self._num_characters = 0

    def feed(self, event: TokenEvent) -> dict[str, Any] | None:
        """Take an event and return the entry of `choices` that it adds; None while its text is held back."""
        if event.token_id is not None:
            self._pending.append(event)
        data = b"" if event.token_id is None else self._tokenizer.token_bytes[event.token_id]
        text = self._held + self._decoder.feed(data)
        self._held = ""
        if event.finish_reason is None:
            held = max((held_back(text, stop) for stop in self._stop), default=0)
            text, self._held = text[: len(text) - held], text[len(text) - held :]
            return self._entry(text) if text else None
        text += self._decoder.finish()
        if event.stop_string is not None:
            text = text.partition(event.stop_string)[0]
        finish_reason = wire_finish_reason(event.finish_reason)
        return {**self._entry(text), "finish_reason": finish_reason, "stop_reason": wire_stop_reason(event)}

    def opening(self) -> dict[str, Any] | None:
        """Return the entry that echoes the prompt; None when nobody asked for it."""
        return self._entry(self._echo) if self._echo else None

    def _entry(self, text: str) -> dict[str, Any]:
        logprobs = None
        if self._num_top is not None:
            logprobs = completion_logprobs(self._tokenizer, self._pending, self._num_top, offset=self._num_characters)
        self._pending = []
        self._num_characters += len(text)
        return {"index": self._index, "text": text, "logprobs": logprobs, "finish_reason": None}


class _Job:
    """All choices of a request on their way to the wire."""

    def __init__(self, generation: Generation, choices: list[_Choice], n: int, head: dict[str, Any]) -> None:
        self._generation = generation
        self._choices = choices
        self._n = n
        self._head = head

    async def stream(self, *, include_usage: bool) -> AsyncGenerator[bytes, None]:
        """Yield the frames of a stream."""
        tail = {"usage": None} if include_usage else {}
        async for entry in self._entries():
            yield sse({**self._head, "choices": [entry], **tail})
        if include_usage:
            yield sse({**self._head, "choices": [], "usage": chat_usage(self._generation.record)})
        yield DONE

    async def whole(self) -> Response:
        """Return the finished answer: the entries of the stream put together."""
        entries: list[list[dict[str, Any]]] = [[] for _ in self._choices]
        async for entry in self._entries():
            entries[entry["index"]].append(entry)
        usage = chat_usage(self._generation.record)
        return JSONResponse({**self._head, "choices": [_join(pieces) for pieces in entries], "usage": usage})

    async def _entries(self) -> AsyncGenerator[dict[str, Any], None]:
        for choice in self._choices:
            if (opening := choice.opening()) is not None:
                yield opening
        async for prompt, event in self._generation.events():
            entry = self._choices[prompt * self._n + event.choice].feed(event)
            if entry is not None:
                yield entry


def _join(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    joined = {**pieces[-1], "text": "".join(piece["text"] for piece in pieces)}
    columns = [piece["logprobs"] for piece in pieces if piece["logprobs"] is not None]
    if columns:
        joined["logprobs"] = {key: [value for column in columns for value in column[key]] for key in columns[0]}
    return joined


def _prompt_ids(served: ServedModel, prompt: str | list[int]) -> list[int]:
    tokenizer = served.tokenizer
    if isinstance(prompt, str):
        check_length(served, [prompt])
        ids = tokenizer.encode(prompt, allow_special=True, add_bos=True)
    else:
        ids = prompt
        for token_id in ids:
            if token_id >= tokenizer.vocab_size:
                raise ValueError(f"prompt has the token id {token_id}; the vocabulary has {tokenizer.vocab_size}")
    if not ids:
        raise ValueError("prompt is empty: there is nothing to go on from")
    return ids
