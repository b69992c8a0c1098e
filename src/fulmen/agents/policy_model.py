"""A policy of `rollout` as an agent's model: the same engine, prompts and replies as in training and evaluation."""

import asyncio
from collections.abc import Callable, Sequence

from fulmen.agents.model import ContextFull, deltas_of
from fulmen.agents.records import Replied
from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.parser import Delta
from fulmen.engine.request import ContextTooLong
from fulmen.rollout.policy import Conversation, Policy, PolicyReply


class _Cancelled(Exception):
    """Ends a policy's work on a reply for which nobody waits any more."""


class PolicyModel:
    """Asks a policy for one reply at a time, in a thread.

    Example::

        model = PolicyModel(EnginePolicy(engine, tokenizer, template, params=params), name="spark")
        replied = await model.reply(messages, tools, max_tokens=500, watch=print)
    """

    def __init__(self, policy: Policy, *, name: str) -> None:
        """Ask `policy`; `name` stands in transcripts."""
        self._policy = policy
        self._name = name

    @property
    def name(self) -> str:
        """Names the model in transcripts."""
        return self._name

    async def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        max_tokens: int,
        watch: Callable[[Delta], None],
    ) -> Replied:
        """See `Model.reply`; a policy that tells nothing of a reply on its way is shown when it has ended."""
        loop = asyncio.get_running_loop()
        streamed = cancelled = False

        def on_delta(delta: Delta) -> None:  # in the thread that steps the engine
            nonlocal streamed
            if cancelled:
                raise _Cancelled
            streamed = True
            loop.call_soon_threadsafe(watch, delta)

        conversation = Conversation(
            messages=tuple(messages), tools=tuple(tools), keep_thinking=True, max_tokens=max_tokens, watch=on_delta
        )
        work = asyncio.ensure_future(asyncio.to_thread(self._ask, conversation))
        try:
            reply = await asyncio.shield(work)
        except asyncio.CancelledError:
            cancelled = True
            await asyncio.wait({work})  # it ends at its next token, or with its reply
            work.exception()
            raise
        except ContextTooLong as error:
            raise ContextFull(str(error)) from error
        if not streamed:
            for delta in deltas_of(reply.message):
                watch(delta)
        return Replied(
            message=reply.message,
            finish_reason=reply.completion.finish_reason,
            prompt_tokens=len(reply.prompt_ids),
            completion_tokens=len(reply.completion.token_ids),
            warnings=reply.warnings,
        )

    def _ask(self, conversation: Conversation) -> PolicyReply:
        for _, reply in self._policy.replies([conversation]):
            return reply
        raise AssertionError("a policy answers every conversation")
