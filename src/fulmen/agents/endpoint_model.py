"""Any endpoint with OpenAI's chat API as an agent's model, through the `openai` package; replies are streamed.

A reply is put together from its pieces as `chat.parser` hands them out for a model in this process. Thinking comes and
goes as `reasoning_content`, or `reasoning` where a server calls it so; Fulmen's own server is asked to keep all of it.
"""

import asyncio
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from fulmen.agents.model import ContextFull, ModelFailed
from fulmen.agents.records import Replied, plain
from fulmen.chat.call_reader import is_json_object
from fulmen.chat.message import Message, ToolCall, ToolSpec
from fulmen.chat.parser import Delta, TextDelta, ThinkingDelta, ToolCallArguments, ToolCallStart

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

_LIMIT_REFUSED = re.compile(r"max_(completion_)?tokens|in the completion")
"""In the words of servers that want no more asked for than the model or its context holds."""
_FINISHED = {"tool_calls": "stop", "function_call": "stop", "stop": "stop"}


@dataclass(slots=True)
class _Reply:
    """A reply on its way: what of it has come."""

    thinking: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    """Of each call: id, name, and the pieces of the arguments."""
    places: dict[int, int] = field(default_factory=dict)
    """Where in `calls` the pieces for an index go; some servers give all calls the same index, and other ids."""
    finish_reason: str | None = None
    warnings: tuple[str, ...] = ()
    pieces: int = 0
    """Of thinking, text and arguments: each is at least one token."""
    usage: tuple[int, int] | None = None

    def message(self) -> Message:
        """Return it as the assistant's message."""
        return Message(
            role="assistant",
            content=plain("".join(self.text)),
            thinking=plain("".join(self.thinking)) if self.thinking else None,
            tool_calls=tuple(
                ToolCall(id=plain(call_id), name=plain(name), arguments=plain("".join(pieces)) or "{}")
                for call_id, name, *pieces in self.calls
            ),
        )


class EndpointModel:
    """A model behind an endpoint.

    Example::

        model = await EndpointModel.connect("http://127.0.0.1:8000/v1")
        replied = await model.reply(messages, tools, max_tokens=500, watch=print)
    """

    def __init__(self, client: "AsyncOpenAI", name: str, *, keeps_thinking: bool, options: dict[str, Any]) -> None:
        """Ask the model `name`; `connect` is the way to make one."""
        self._client = client
        self._name = name
        self._options = options
        self._extra = {"keep_thinking": True} if keeps_thinking else {}

    @classmethod
    async def connect(
        cls,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> Self:
        """Ask an endpoint what it serves.

        Args:
            base_url: up to and including `/v1`.
            model: which model to ask; None: the only one there is.
            api_key: sent as a bearer token.
            timeout: seconds without a sign of life after which a request has failed.
            temperature: None leaves it to the server.
            seed: None leaves it to the server.

        Raises:
            ModelFailed: nothing answers there.
            ValueError: `model` is not served there, or must be chosen; or this is no address.
        """
        if urlsplit(base_url).scheme not in ("http", "https"):
            raise ValueError(f"{base_url!r} is no http or https address, as in http://127.0.0.1:8000/v1")
        try:
            import openai
        except ImportError:
            raise RuntimeError("an endpoint needs the package `openai`: pip install 'fulmen[agents]'") from None

        client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key or "none", timeout=timeout, max_retries=2)
        served: dict[str, str] = {}
        try:
            with _endpoint_errors(base_url):
                served = {card.id: card.owned_by async for card in await client.models.list()}
        except ModelFailed as error:
            if not isinstance(error.__cause__, openai.NotFoundError):
                raise
            if model is None:
                raise ModelFailed(f"{error}. Should the address end in /v1?") from error
        if model is None:
            if len(served) != 1:
                raise ValueError(f"{base_url} serves {len(served)} models; name one of: {', '.join(served)}")
            [model] = served
        if served and model not in served:
            raise ValueError(f"{base_url} does not serve {model!r}; it has: {', '.join(served)}")
        options = {"temperature": temperature, "seed": seed}
        return cls(
            client,
            model,
            keeps_thinking=served.get(model) == "fulmen",
            options={key: value for key, value in options.items() if value is not None},
        )

    @property
    def name(self) -> str:
        """Names the model in transcripts."""
        return self._name

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        max_tokens: int,
        watch: Callable[[Delta], None],
    ) -> Replied:
        """See `Model.reply`. A server that goes on beyond `max_tokens` is not listened to any longer."""
        reply = _Reply()
        request: dict[str, Any] = {
            "model": self._name,
            "messages": [_readable(message).to_openai() for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens": max_tokens,
            "extra_body": self._extra,
            **({"tools": [tool.to_openai() for tool in tools]} if tools else {}),
            **self._options,
        }
        with _endpoint_errors(str(self._client.base_url)):
            async with await self._stream(request) as stream:
                async for chunk in stream:
                    for delta in _take(reply, chunk):
                        watch(delta)
                    if reply.pieces > max_tokens:
                        reply.finish_reason = "length"
                        break
        if reply.finish_reason is None:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # a stream that is cancelled between two chunks just ends
                raise asyncio.CancelledError
            raise ModelFailed(f"{self._client.base_url} ended a reply without saying why: the connection was cut")
        prompt_tokens, completion_tokens = reply.usage or (0, reply.pieces)
        return Replied(
            message=reply.message(),
            finish_reason=_FINISHED.get(reply.finish_reason, reply.finish_reason),
            prompt_tokens=prompt_tokens,
            completion_tokens=max(completion_tokens, 1),
            warnings=reply.warnings,
        )

    async def _stream(self, request: dict[str, Any]) -> "AsyncStream[ChatCompletionChunk]":
        """Begin a reply; without its limit where that is too large for the server, as the limit is kept here too."""
        import openai

        stream: AsyncStream[ChatCompletionChunk]
        try:
            stream = await self._client.chat.completions.create(**request)
        except openai.BadRequestError as error:
            if not _LIMIT_REFUSED.search(error.message):
                raise
            del request["max_completion_tokens"]
            stream = await self._client.chat.completions.create(**request)
        return stream


def _take(reply: _Reply, chunk: "ChatCompletionChunk") -> Iterator[Delta]:
    """Add what a chunk brings to the reply, and yield it in pieces."""
    if chunk.usage is not None:
        reply.usage = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
    for choice in (chunk.choices or ())[:1]:
        extra = choice.delta.model_extra or {}
        thinking = extra.get("reasoning_content") or extra.get("reasoning")
        if isinstance(thinking, str):
            reply.pieces += 1
            reply.thinking.append(thinking)
            yield ThinkingDelta(thinking)
        if choice.delta.content:
            reply.pieces += 1
            reply.text.append(choice.delta.content)
            yield TextDelta(choice.delta.content)
        for call in choice.delta.tool_calls or ():
            name, arguments = (call.function.name, call.function.arguments) if call.function else (None, None)
            place = reply.places.get(call.index)
            if place is None or (call.id and call.id != reply.calls[place][0]):
                place = reply.places[call.index] = len(reply.calls)
                reply.calls.append([call.id or "", name or ""])
                yield ToolCallStart(place, call.id or "", name or "")
            if arguments:
                reply.pieces += 1
                reply.calls[place].append(arguments)
                yield ToolCallArguments(place, arguments)
        reply.finish_reason = choice.finish_reason or reply.finish_reason
        warnings = (choice.model_extra or {}).get("warnings")
        if isinstance(warnings, list):
            reply.warnings = tuple(str(warning) for warning in warnings)


def _readable(message: Message) -> Message:
    """Some servers refuse a conversation in which the arguments of a call are no JSON object; its result says so."""
    calls = tuple(
        call
        if is_json_object(call.arguments)
        else dataclasses.replace(call, arguments=json.dumps({"unreadable": call.arguments}))
        for call in message.tool_calls
    )
    return dataclasses.replace(message, tool_calls=calls)


@contextmanager
def _endpoint_errors(base_url: str) -> Iterator[None]:
    """Turn the errors of OpenAI's client into ours, with the server's own words."""
    import httpx
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        if error.code == "context_length_exceeded" or "context" in str(error.code or "").split("_"):
            raise ContextFull(f"{base_url}: {error.message}") from error
        raise ModelFailed(f"{base_url} refused the request with status {error.status_code}: {error.message}") from error
    except openai.APITimeoutError as error:
        raise ModelFailed(f"{base_url} did not answer in time") from error
    except openai.APIConnectionError as error:
        raise ModelFailed(f"{base_url} can't be reached: {error.__cause__ or error.message}") from error
    except openai.APIError as error:
        raise ModelFailed(f"{base_url}: {error.message}") from error
    except httpx.HTTPError as error:  # while a reply comes, version 2 of the client passes them on
        raise ModelFailed(f"{base_url}: {type(error).__name__} {error}") from error
    except ValueError as error:
        raise ModelFailed(f"{base_url} sends what can't be read: {error}") from error
