"""Conversations to replies, many at once: what evaluation and reinforcement learning ask of a model.

`EnginePolicy` goes the way of a chat request (`chat.prompt`, the engine, `chat.reply`) and keeps the engine's batch
full: as soon as one reply has ended, the next conversation takes its place.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.parser import Delta
from fulmen.chat.prompt import build_prompt
from fulmen.chat.reply import ReplyAssembler
from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer
from fulmen.engine.engine import Engine, completion_of
from fulmen.trace import Completion, SamplingParams, TokenEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """What a policy answers.

    Example: `Conversation(messages=(Message(role="user", content="What is 17 + 25?"),))`.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    keep_thinking: bool = False
    """Show the model what it thought before the last user message, too."""
    max_tokens: int | None = None
    """Most tokens of the reply, where that is less than what the policy allows."""
    watch: Callable[[Delta], None] | None = None
    """Called with each piece of the reply as it comes, by policies that see it coming; what it raises ends the work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyReply:
    """A reply as a message, and the tokens that it was made of.

    Example::

        PolicyReply(message=Message(role="assistant", content="42"), prompt_ids=(1, 88, 9), completion=...)
    """

    message: Message
    prompt_ids: tuple[int, ...]
    completion: Completion
    warnings: tuple[str, ...] = ()
    """What of the reply could not be read, as a malformed tool call."""


class Policy(Protocol):
    """Whatever answers conversations."""

    def replies(self, conversations: Iterable[Conversation]) -> Iterator[tuple[int, PolicyReply]]:
        """Yield (index of the conversation, reply) as they are finished, which may be in any order."""
        ...


@dataclass(slots=True)
class _Open:
    """A reply on its way."""

    index: int
    prompt_ids: tuple[int, ...]
    assembler: ReplyAssembler
    watch: Callable[[Delta], None]
    events: list[TokenEvent] = field(default_factory=list)


class EnginePolicy:
    """A model in an engine of this process, which nobody else steps meanwhile.

    Example::

        policy = EnginePolicy(engine, tokenizer, template, params=SamplingParams(temperature=0.0, max_tokens=256))
        for index, reply in policy.replies([Conversation(messages=(question,))]):
            print(index, reply.message.content)
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        params: SamplingParams,
        thinking_budget: int | None = None,
    ) -> None:
        """Answer with `params` (one choice each) and at most `thinking_budget` tokens of thinking."""
        if params.n != 1:
            raise ValueError(f"n is {params.n}; a policy gives one reply to a conversation")
        self._engine = engine
        self._tokenizer = tokenizer
        self._template = template
        self._params = params
        self._thinking_budget = thinking_budget

    def replies(self, conversations: Iterable[Conversation]) -> Iterator[tuple[int, PolicyReply]]:
        """Yield (index of the conversation, reply) as they are finished. Closing the iterator cancels the others.

        Raises:
            ValueError: a conversation can't be answered, as it does not fit the engine's context for example.
        """
        waiting = enumerate(conversations)
        running: dict[int, _Open] = {}
        try:
            while True:
                while len(running) < self._engine.options.max_running and (item := next(waiting, None)):
                    submitted, reply = self._submit(*item)
                    running[submitted] = reply
                if not running:
                    return
                for request, event in self._engine.step():
                    opened = running.get(request)
                    if opened is None:  # the last word of a reply that was cancelled earlier
                        continue
                    opened.events.append(event)
                    for delta in opened.assembler.feed(event):
                        opened.watch(delta)
                    if event.finish_reason is not None:
                        del running[request]
                        yield opened.index, self._finished(opened)
        finally:
            for request in running:
                self._engine.cancel(request)

    def _submit(self, index: int, conversation: Conversation) -> tuple[int, _Open]:
        prompt = build_prompt(
            conversation.messages,
            tokenizer=self._tokenizer,
            template=self._template,
            tools=conversation.tools,
            thinking_budget=self._thinking_budget,
            keep_thinking=conversation.keep_thinking,
        )
        limits = [limit for limit in (self._params.max_tokens, conversation.max_tokens) if limit is not None]
        params = dataclasses.replace(
            self._params,
            grammar=prompt.grammar,
            thinking_budget=prompt.thinking_budget,
            max_tokens=min(limits, default=None),
        )
        assembler = prompt.assembler(self._tokenizer, stop=params.stop)
        opened = _Open(index, prompt.ids, assembler, conversation.watch or (lambda delta: None))
        return self._engine.add(prompt.ids, params), opened

    def _finished(self, opened: _Open) -> PolicyReply:
        reply = opened.assembler.reply
        return PolicyReply(
            message=reply.message(),
            warnings=reply.warnings,
            prompt_ids=opened.prompt_ids,
            completion=completion_of(opened.events, self._engine.weight_version),
        )
