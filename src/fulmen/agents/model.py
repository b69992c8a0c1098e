"""The model behind an agent: whatever answers a conversation with a message, in this process or behind an endpoint."""

from collections.abc import Callable, Sequence
from typing import Protocol

from fulmen.agents.records import Replied
from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.parser import Delta, TextDelta, ThinkingDelta, ToolCallArguments, ToolCallStart


class ModelFailed(RuntimeError):
    """The model could not answer. The run is not over: it can be resumed from its transcript."""


class ContextFull(ModelFailed):
    """The conversation does not fit the model any more."""


class Model(Protocol):
    """What the loop asks for replies."""

    @property
    def name(self) -> str:
        """Names the model in transcripts."""
        ...

    async def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        max_tokens: int,
        watch: Callable[[Delta], None],
    ) -> Replied:
        """Answer a conversation, all thinking of earlier replies in it.

        Args:
            messages: the conversation; the assistant answers next.
            tools: tools that the model may call.
            max_tokens: most tokens of the reply.
            watch: called with each piece of the reply as it comes, in the caller's event loop.

        Raises:
            ModelFailed: there is no answer; ContextFull where the conversation is too long.
        """
        ...


def deltas_of(message: Message) -> list[Delta]:
    """Return a whole message as the pieces of a reply."""
    deltas: list[Delta] = []
    if message.thinking:
        deltas.append(ThinkingDelta(message.thinking))
    if message.content:
        deltas.append(TextDelta(message.content))
    for index, call in enumerate(message.tool_calls):
        deltas += [ToolCallStart(index, call.id, call.name), ToolCallArguments(index, call.arguments)]
    return deltas
