"""`/v1/models`, `/tokenize` and `/detokenize`: what is served, and how it sees text."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from fulmen.chat.message import messages_from_openai, tools_from_openai
from fulmen.server.completions import TokenIds
from fulmen.server.errors import ApiError, request_errors
from fulmen.server.generation import ChatOptions, chat_prompt
from fulmen.server.protocol import Messages, Tools, WireModel
from fulmen.server.request_body import JsonRoute
from fulmen.server.served_model import ServedModel, served_model

router = APIRouter(route_class=JsonRoute)


class TokenizeRequest(WireModel):
    """A text, or the messages of a chat, to count and to see in tokens."""

    model: str | None = None
    prompt: str | None = None
    messages: Messages = None
    tools: Tools = None
    add_special_tokens: bool = True
    """Begin a text as a document begins; control tokens in it are read as such."""

    def token_ids(self, served: ServedModel) -> list[int]:
        """Return the ids; ValueError unless there is either a prompt or messages."""
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("prompt or messages must be given, and not both")
        if self.prompt is not None:
            return served.tokenizer.encode(self.prompt, allow_special=True, add_bos=self.add_special_tokens)
        options = ChatOptions(tools=tools_from_openai(self.tools))
        return list(chat_prompt(served, messages_from_openai(self.messages), options).ids)


class DetokenizeRequest(WireModel):
    """Ids to turn into text, control tokens written out."""

    model: str | None = None
    tokens: TokenIds = Field(max_length=10_000_000)


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """List the model."""
    return {"object": "list", "data": [_card(request.app.state.served)]}


@router.get("/v1/models/{model:path}")
async def model(model: str, request: Request) -> dict[str, Any]:
    """Describe the model."""
    return _card(served_model(request, model))


@router.post("/tokenize")
async def tokenize(body: TokenizeRequest, request: Request) -> dict[str, Any]:
    """Turn a text or a chat into token ids."""
    served = served_model(request, body.model)
    with request_errors("prompt", "messages", "tools"):
        ids = await asyncio.to_thread(body.token_ids, served)
    return {"tokens": ids, "count": len(ids), "max_model_len": served.max_context}


@router.post("/detokenize")
async def detokenize(body: DetokenizeRequest, request: Request) -> dict[str, Any]:
    """Turn token ids into text."""
    tokenizer = served_model(request, body.model).tokenizer
    if unknown := [token for token in body.tokens if token >= tokenizer.vocab_size]:
        message = f"tokens has {unknown[0]}; the vocabulary has {tokenizer.vocab_size}"
        raise ApiError(400, message, param="tokens", code="invalid_value")
    return {"prompt": tokenizer.decode(body.tokens, skip_special=False)}


def _card(served: ServedModel) -> dict[str, Any]:
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "fulmen",
        "max_model_len": served.max_context,
        "thinks": served.template.thinks,
        "thinking_budget": served.thinking_budget,
    }
