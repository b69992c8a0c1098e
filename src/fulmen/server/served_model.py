"""What a server serves: the model's name, its engine behind the few calls that the wire needs, and the options.

The engine is described by a protocol, so that the wire can be tested against a script of token events.
"""

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol

from fastapi import Request

from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer
from fulmen.server.errors import ApiError
from fulmen.trace import SamplingParams, TokenEvent


class GenerationService(Protocol):
    """What the server uses of `engine.service.Service`."""

    @property
    def max_open(self) -> int:
        """Replies that may run or wait at once."""
        ...

    async def submit(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[TokenEvent, None]:
        """Queue a request; closing the iterator cancels it, and works before the first event too."""
        ...

    def stats(self) -> Mapping[str, float]:
        """Return what runs and waits, and what memory is used."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """One model as clients see it.

    Example: `ServedModel(name="smollm2-135m", service=service, tokenizer=tokenizer, template=template,
    max_context=8192)`.
    """

    name: str
    service: GenerationService
    tokenizer: Tokenizer
    template: ChatTemplate
    max_context: int
    """Tokens of prompt and reply together."""
    defaults: SamplingParams = field(default_factory=lambda: SamplingParams(top_p=1.0))
    """What a request that says nothing is sampled with."""
    thinking_budget: int | None = None
    """Most tokens of thinking where a request names no budget and no effort; None: no limit."""
    created: int = 0
    """Unix time that `/v1/models` reports."""


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Limits and doors of a server.

    Example: `ServerOptions(api_keys=("secret",), max_body_bytes=1 << 20)`.
    """

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """Any of these is asked for as a bearer token; empty: the server is open."""
    max_body_bytes: int = 64 * 1024 * 1024
    cors_origins: tuple[str, ...] = ()
    """Web pages of these origins may call the server; "*" is any; empty: none."""
    drain_seconds: float = 30.0
    """How long running replies may go on after a request to stop."""
    ping_seconds: float = 15.0
    """A stream that is silent for so long sends a comment, so that proxies keep it open."""
    max_stored_responses: int = 1000
    max_stored_characters: int = 100_000_000
    """Responses kept for `previous_response_id`, oldest forgotten first."""


def served_model(request: Request, name: str | None) -> ServedModel:
    """Return the model that a request names, or the one there is if it names none; ApiError 404 for another."""
    served: ServedModel = request.app.state.served
    if name is not None and name != served.name:
        message = f"the model {name!r:.100} does not exist; this server has {served.name!r}"
        raise ApiError(404, message, param="model", code="model_not_found")
    return served


def fingerprint(served: ServedModel) -> str:
    """Return `system_fingerprint`: changes when the model or Fulmen's version does."""
    return "fp_" + hashlib.sha256(f"{served.name} {version('fulmen')}".encode()).hexdigest()[:12]
