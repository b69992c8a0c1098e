"""`/v1/responses`: items in, items or a stream of events out; what agent toolkits speak first."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, WithJsonSchema

from fulmen.chat.message import Message, tools_from_openai
from fulmen.chat.prompt import ChatPrompt
from fulmen.chat.toolcalls import ToolChoice, response_schema_from_openai
from fulmen.server.errors import ApiError, request_errors
from fulmen.server.generation import ChatOptions, Generation, chat_prompt, check_length
from fulmen.server.protocol import Effort, SamplingFields, WireModel, read_thinking_budget
from fulmen.server.request_body import JsonRoute
from fulmen.server.response_items import messages_from_input
from fulmen.server.response_store import ResponseStore, StoredResponse
from fulmen.server.responses_stream import ResponseWriter
from fulmen.server.served_model import ServedModel, served_model
from fulmen.server.stream import DONE, EventStream, sse, unless_disconnected
from fulmen.trace import SamplingParams

router = APIRouter(route_class=JsonRoute)

_FIELDS = (
    "input", "tools", "tool_choice", "text", "reasoning", "thinking_budget", "logit_bias", "stop",
    "max_output_tokens", "temperature", "top_p",
)  # fmt: skip
_ITEM = {"type": "object", "properties": {"role": {"enum": ["user", "assistant"]}, "content": {"type": "string"}}}
_TOOL = {"type": "object", "properties": {"type": {"const": "function"}, "name": {"type": "string"}}}
Input = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _ITEM, "minItems": 1}]})
]
_LOGPROBS = "message.output_text.logprobs"


class Reasoning(WireModel):
    """How hard to think."""

    effort: Effort | None = None


class TextOptions(WireModel):
    """What form the answer has."""

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponseRequest(SamplingFields):
    """The body of a Responses request; `thinking_budget` and `keep_thinking` are Fulmen's own."""

    model: str
    input: Input
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    include: list[str] | None = None
    tools: Annotated[Any, WithJsonSchema({"anyOf": [{"type": "array", "items": _TOOL}, {"type": "null"}]})] = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    thinking_budget: int | None = Field(default=None, ge=0)
    keep_thinking: bool | None = None

    def options(self) -> ChatOptions:
        """Return what the prompt is made of beside messages; ValueError names the field that is wrong."""
        for name in ("background", "conversation", "prompt"):
            if getattr(self, name):
                raise ValueError(f"{name} is not supported by this server")
        if (self.n or 1) > 1:
            raise ValueError(f"n is {self.n}; a response has one reply")
        return ChatOptions(
            tools=tools_from_openai(self.tools),
            tool_choice=ToolChoice.from_openai(self.tool_choice),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            response_schema=response_schema_from_openai(self.text.format if self.text else None, "text.format"),
            thinking_budget=read_thinking_budget(
                self.thinking_budget, self.reasoning.effort if self.reasoning else None
            ),
            keep_thinking=bool(self.keep_thinking),
        )

    @property
    def num_top_logprobs(self) -> int | None:
        """How many alternatives each token is reported with; None when no log-probabilities are asked for."""
        return (self.top_logprobs or 0) if self.top_logprobs or _LOGPROBS in (self.include or ()) else None


@router.post("/v1/responses", response_model=None)
async def create_response(body: ResponseRequest, request: Request) -> Response:
    """Answer items."""
    served = served_model(request, body.model)
    store: ResponseStore = request.app.state.responses
    earlier = earlier_messages(store, body.previous_response_id)
    with request_errors(*_FIELDS):
        messages = (*earlier, *messages_from_input(body.input))
        prompt, params = await asyncio.to_thread(_plan, body, served, messages)
    generation = await Generation.start(request, [prompt.ids], params, fields=_FIELDS)
    writer = ResponseWriter(
        _empty_response(body, served, params, prompt.warnings),
        prompt.assembler(served.tokenizer, stop=params.stop),
        served.tokenizer,
        prompt_tokens=len(prompt.ids),
        num_top=body.num_top_logprobs,
    )
    job = _Job(generation, writer, messages, store if body.store is not False else None)
    if body.stream:
        return EventStream(
            job.stream(),
            close=generation.aclose,
            ping_seconds=request.app.state.options.ping_seconds,
            on_failure=lambda message: sse(writer.fail(message), "response.failed") + DONE,
        )
    return await unless_disconnected(request, job.whole(), close=generation.aclose)


@router.get("/v1/responses/{response_id}")
async def get_response(response_id: str, request: Request) -> dict[str, Any]:
    """Return a stored response."""
    return _stored(request.app.state.responses, response_id, "response_id").body


@router.delete("/v1/responses/{response_id}")
async def delete_response(response_id: str, request: Request) -> dict[str, Any]:
    """Forget a stored response."""
    _stored(request.app.state.responses, response_id, "response_id")
    request.app.state.responses.remove(response_id)
    return {"id": response_id, "object": "response", "deleted": True}


class _Job:
    """A response on its way to the wire, and into the store."""

    def __init__(
        self,
        generation: Generation,
        writer: ResponseWriter,
        messages: tuple[Message, ...],
        store: ResponseStore | None,
    ) -> None:
        self._generation = generation
        self._writer = writer
        self._messages = messages
        self._store = store

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the frames of a stream."""
        for out in self._writer.start():
            yield sse(out, out["type"])
        async for _, event in self._generation.events():
            events = self._writer.feed(event)
            if event.finish_reason is not None:  # a client may go on from here as soon as it sees the end
                self._keep()
            for out in events:
                yield sse(out, out["type"])
        yield DONE

    async def whole(self) -> Response:
        """Return the finished response."""
        async for _, event in self._generation.events():
            self._writer.feed(event)
        self._keep()
        return JSONResponse(self._writer.response)

    def _keep(self) -> None:
        if self._store is not None:
            reply = self._writer.assembler.reply.message()
            self._store.add(StoredResponse(body=self._writer.response, messages=(*self._messages, reply)))


def _plan(
    body: ResponseRequest, served: ServedModel, messages: tuple[Message, ...]
) -> tuple[ChatPrompt, SamplingParams]:
    if body.instructions:
        messages = (Message(role="system", content=body.instructions), *messages)
    check_length(served, (message.content for message in messages))
    prompt = chat_prompt(served, messages, body.options())
    return prompt, body.sampling_params(
        served.defaults,
        vocab_size=served.tokenizer.vocab_size,
        max_tokens=body.max_output_tokens,
        top_logprobs=body.num_top_logprobs or 0,
        grammar=prompt.grammar,
        thinking_budget=prompt.thinking_budget,
    )


def earlier_messages(store: ResponseStore, response_id: str | None) -> tuple[Message, ...]:
    """Return the conversation that `previous_response_id` goes on with; ApiError 404 when it is not stored."""
    return () if response_id is None else _stored(store, response_id, "previous_response_id").messages


def _stored(store: ResponseStore, response_id: str, param: str) -> StoredResponse:
    response = store.get(response_id)
    if response is None:
        message = f"the response {response_id!r:.80} does not exist: never stored, or forgotten since"
        raise ApiError(404, message, param=param, code="response_not_found")
    return response


def _empty_response(
    body: ResponseRequest, served: ServedModel, params: SamplingParams, warnings: tuple[str, ...]
) -> dict[str, Any]:
    """The response before its first token, with the fields that clients check for."""
    effort = body.reasoning.effort if body.reasoning else None
    tool_form = {"description": None, "parameters": None, "strict": None}
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "model": served.name,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": None,
        "reasoning": {"effort": effort, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": body.store is not False,
        "temperature": params.temperature,
        "text": {"format": (body.text and body.text.format) or {"type": "text"}},
        "tool_choice": body.tool_choice or "auto",
        "tools": [{**tool_form, **tool} for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": params.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": body.user,
        **({"warnings": list(warnings)} if warnings else {}),
    }
