"""`/v1/responses/compact`: a long conversation becomes what was asked in it, and a summary that the model writes.

The items that come back take the conversation's place in the `input` of the next request. The field for the summary
is called `encrypted_content`; ours is plain text, because nothing in it is a secret from the client, whose
conversation it is.
"""

import asyncio
import dataclasses
import time
import uuid
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from fulmen.chat.message import Message
from fulmen.chat.prompt import ChatPrompt
from fulmen.server.errors import request_errors
from fulmen.server.generation import ChatOptions, Generation, chat_prompt, check_length
from fulmen.server.protocol import WireModel
from fulmen.server.request_body import JsonRoute
from fulmen.server.response_items import messages_from_input
from fulmen.server.responses import Input, earlier_messages
from fulmen.server.responses_stream import responses_usage
from fulmen.server.served_model import ServedModel, served_model
from fulmen.server.stream import unless_disconnected

router = APIRouter(route_class=JsonRoute)

_ORDER = (
    "Summarise our conversation so far, so that you can go on from your summary alone: what was asked, what was done "
    "and found, with names and numbers, what was decided, and what is still open. Write the summary and nothing else."
)
_MAX_SUMMARY_TOKENS = 4096
_FIELDS = ("input", "previous_response_id")


class CompactionRequest(WireModel):
    """The body of a request to compact a conversation: items, an earlier response, or both."""

    model: str
    input: Input = None
    instructions: str | None = None
    previous_response_id: str | None = None

    def messages(self, earlier: tuple[Message, ...]) -> tuple[Message, ...]:
        """Return the conversation; ValueError names what can't be read, or says that there is none."""
        if not earlier and self.input is None:
            raise ValueError("input is missing: there is no conversation to compact")
        return (*earlier, *(() if self.input is None else messages_from_input(self.input)))


@router.post("/v1/responses/compact", response_model=None)
async def compact(body: CompactionRequest, request: Request) -> Response:
    """Compact a conversation."""
    served = served_model(request, body.model)
    earlier = earlier_messages(request.app.state.responses, body.previous_response_id)
    with request_errors(*_FIELDS):
        messages = body.messages(earlier)
        prompt = await asyncio.to_thread(_prompt, served, messages, body.instructions)
    params = dataclasses.replace(
        served.defaults, max_tokens=_MAX_SUMMARY_TOKENS, thinking_budget=prompt.thinking_budget
    )
    generation = await Generation.start(request, [prompt.ids], params, fields=_FIELDS)
    return await unless_disconnected(request, _compacted(generation, prompt, served, messages), close=generation.aclose)


def _prompt(served: ServedModel, messages: tuple[Message, ...], instructions: str | None) -> ChatPrompt:
    """Ask at the end, so that the conversation itself is found in the prefix store."""
    opening = (Message(role="system", content=instructions),) if instructions else ()
    messages = (*opening, *messages, Message(role="user", content=_ORDER))
    check_length(served, (message.content for message in messages))
    return chat_prompt(served, messages, ChatOptions())


async def _compacted(
    generation: Generation, prompt: ChatPrompt, served: ServedModel, messages: tuple[Message, ...]
) -> Response:
    assembler = prompt.assembler(served.tokenizer)
    async for _, event in generation.events():
        assembler.feed(event)
    warnings = list(prompt.warnings)
    if assembler.finish_reason != "stop":
        warnings.append(f"the summary was cut off after {assembler.usage.completion_tokens} tokens")
    summary = {
        "id": f"cmp_{uuid.uuid4().hex}",
        "type": "compaction",
        "encrypted_content": assembler.reply.message().content,
    }
    return JSONResponse(
        {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response.compaction",
            "created_at": int(time.time()),
            "output": [*(_kept(message) for message in messages if message.role in ("system", "user")), summary],
            "usage": responses_usage(len(prompt.ids), assembler.usage),
            **({"warnings": warnings} if warnings else {}),
        }
    )


def _kept(message: Message) -> dict[str, Any]:
    """What users and developers said is kept word for word."""
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "status": "completed",
        "role": message.role,
        "content": [{"type": "input_text", "text": message.content}],
    }
