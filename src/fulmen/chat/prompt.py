"""A request's options to what the engine needs: prompt ids, grammar, thinking budget. For server and command line.

The one place that knows how options act on each other: a budget of 0 closes the thinking in the prompt, a grammar
must let the thinking pass first, calls that a grammar holds to their form are streamed as they grow.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.reply import ReplyAssembler
from fulmen.chat.reply_format import CLOSE_TEXT, THINK_CLOSE, THINK_OPEN
from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer
from fulmen.chat.toolcalls import AUTO, GrammarThinking, ToolChoice, tool_grammar
from fulmen.trace import Grammar, ThinkingBudget

THINKING_BUDGET_40K = 40_000
"""Tokens of thinking of MiniMax-M1-40K."""
THINKING_BUDGET_80K = 80_000
"""Tokens of thinking of MiniMax-M1-80K."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatPrompt:
    """What a chat request asks of the engine, and how to read the reply.

    Example: a plain question to a model that thinks as long as it likes::

        ChatPrompt(ids=(200034, 200019, ...), grammar=None, thinking_budget=None, starts_in_thinking=False,
                   read_tool_calls=False, constrained_calls=False)
    """

    ids: tuple[int, ...]
    grammar: Grammar | None
    thinking_budget: ThinkingBudget | None
    starts_in_thinking: bool
    """The prompt ends inside an open thinking."""
    read_tool_calls: bool
    """The request has tools, so that `<tool_calls>` in the reply means calls."""
    constrained_calls: bool
    """The grammar holds the calls to their form."""
    warnings: tuple[str, ...] = ()
    """What of the request did not reach the model."""

    def assembler(
        self, tokenizer: Tokenizer, *, stop: Sequence[str] = (), new_id: Callable[[], str] | None = None
    ) -> ReplyAssembler:
        """Return what reads one reply to this prompt; `stop` are the stop strings of the request."""
        return ReplyAssembler(
            tokenizer,
            stop=stop,
            starts_in_thinking=self.starts_in_thinking,
            read_tool_calls=self.read_tool_calls,
            constrained_calls=self.constrained_calls,
            new_id=new_id,
        )


def build_prompt(
    messages: Sequence[Message],
    *,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    tools: Sequence[ToolSpec] = (),
    tool_choice: ToolChoice = AUTO,
    parallel_tool_calls: bool = True,
    response_schema: Mapping[str, Any] | None = None,
    thinking_budget: int | None = None,
    keep_thinking: bool = False,
    system_prompt: str | None = None,
) -> ChatPrompt:
    """Turn a chat request into a prompt.

    Args:
        messages: the conversation; the assistant answers next.
        tokenizer: of the checkpoint.
        template: of the checkpoint.
        tools: tools that the model may call.
        tool_choice: whether it may, must or must not (see `tool_grammar`).
        parallel_tool_calls: False allows one call only.
        response_schema: JSON schema of the answer.
        thinking_budget: most tokens of thinking; 0 answers at once; None sets no limit.
        keep_thinking: show the thinking of earlier turns, which is left out otherwise.
        system_prompt: added after what the system message says.

    Raises:
        ValueError: an option is wrong, or the template refuses the messages.
    """
    if thinking_budget is not None and thinking_budget < 0:
        raise ValueError(f"thinking_budget is {thinking_budget}; it must be 0 or more")
    if not messages:
        raise ValueError("messages is empty")
    closed = thinking_budget == 0 and template.thinks
    chat = template.render_ids(
        tokenizer,
        _add_system_prompt(messages, system_prompt) if system_prompt else messages,
        tools,
        keep_thinking=keep_thinking,
        thinking="closed" if closed else "free",
    )
    opened = chat.starts_in_thinking
    thinking: GrammarThinking = "open" if opened else "optional" if template.thinks and not closed else "none"
    num_images = sum(message.num_unseen_images for message in messages)
    grammar = tool_grammar(tools, tool_choice, parallel=parallel_tool_calls, thinking=thinking, schema=response_schema)
    return ChatPrompt(
        ids=chat.ids,
        grammar=grammar,
        thinking_budget=None if thinking_budget is None else _budget(thinking_budget, tokenizer, opened),
        starts_in_thinking=opened,
        read_tool_calls=bool(tools),
        constrained_calls=bool(tools) and tool_choice.mode != "none",
        warnings=(f"images were left out ({num_images}): this model reads text only",) if num_images else (),
    )


def _budget(tokens: int, tokenizer: Tokenizer, opened: bool) -> ThinkingBudget:
    close_ids = tuple(tokenizer.encode(CLOSE_TEXT, allow_special=True))
    return ThinkingBudget(tokens=tokens, open_text=THINK_OPEN, close_text=THINK_CLOSE, close_ids=close_ids, open=opened)


def _add_system_prompt(messages: Sequence[Message], text: str) -> tuple[Message, ...]:
    first, *rest = messages
    if first.role != "system":
        return (Message(role="system", content=text), *messages)
    return (dataclasses.replace(first, content=f"{first.content}\n\n{text}" if first.content else text), *rest)
