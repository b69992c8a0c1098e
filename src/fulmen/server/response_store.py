"""Responses kept in memory, so that a client may go on from `previous_response_id`; the oldest are forgotten."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from fulmen.chat.message import Message


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredResponse:
    """A response and the whole conversation up to it, its own reply included, without instructions.

    Example: `StoredResponse(body={"id": "resp_1", ...}, messages=(Message(role="user", content="Hi"), ...))`.
    """

    body: dict[str, Any]
    messages: tuple[Message, ...]

    @property
    def num_characters(self) -> int:
        """Text of the conversation. What it shares with earlier responses counts again: keeping it keeps that too."""
        return sum(
            len(message.content) + len(message.thinking or "") + sum(len(call.arguments) for call in message.tool_calls)
            for message in self.messages
        )


class ResponseStore:
    """A bounded store, oldest out first. Used from the event loop alone, so it needs no lock."""

    def __init__(self, *, max_responses: int, max_characters: int) -> None:
        """Keep at most so many responses, and so many characters of conversations."""
        self._max_responses = max_responses
        self._max_characters = max_characters
        self._num_characters = 0
        self._responses: OrderedDict[str, StoredResponse] = OrderedDict()

    def __len__(self) -> int:
        return len(self._responses)

    def add(self, response: StoredResponse) -> None:
        """Keep a response; forget as many of the oldest as that takes."""
        self._responses[response.body["id"]] = response
        self._num_characters += response.num_characters
        while len(self._responses) > self._max_responses or self._num_characters > self._max_characters:
            _, oldest = self._responses.popitem(last=False)
            self._num_characters -= oldest.num_characters

    def get(self, response_id: str) -> StoredResponse | None:
        """Return a response, or None if it is unknown or forgotten."""
        return self._responses.get(response_id)

    def remove(self, response_id: str) -> bool:
        """Forget a response; False if it was not there."""
        response = self._responses.pop(response_id, None)
        if response is not None:
            self._num_characters -= response.num_characters
        return response is not None
