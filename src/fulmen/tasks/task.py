"""What a task is: examples that a seed determines, each with the reply that solves it, and a score for any reply."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from fulmen.chat.message import Message, ToolSpec

Split = Literal["train", "test"]
"""Examples of the two splits never coincide, whatever the seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One problem: the conversation that the model must continue, and what is known about the right reply.

    Example::

        Example(
            messages=(Message(role="user", content="What is 17 + 25?"),),
            reference="42",
            demonstration=Message(role="assistant", thinking="7+5=12, 1+2+1=4", content="42"),
        )
    """

    messages: tuple[Message, ...]
    reference: Any
    """What `Task.score` compares with; JSON-like."""
    demonstration: Message
    """A reply that scores 1, with its thinking and tool calls: what fine-tuning imitates."""
    tools: tuple[ToolSpec, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How good a reply is.

    Example: `Score(value=0.0, why="the answer is 41, and 42 was expected")`.
    """

    value: float
    """Within 0..1; 1 is fully right."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What the value is made of, or further measures of the same reply, each within 0..1."""
    why: str = ""


class Task(Protocol):
    """A source of problems and the judge of replies to them. Deterministic for a seed."""

    @property
    def name(self) -> str:
        """Names the task in configurations and reports; lower case, words joined by underscores."""
        ...

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        ...

    def score(self, example: Example, reply: Message) -> Score:
        """Judge an assistant's reply; any reply has a score, however malformed."""
        ...
