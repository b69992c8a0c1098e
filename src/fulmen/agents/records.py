"""What a run of an agent is made of: one record for everything that happened, in order.

The records are the run: the conversation, the budgets spent and what is to be done next all follow from them (`state`,
`decision`). A transcript is a file of them (`transcript`), so that a run can be replayed, and resumed after a kill.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from fulmen.chat.message import Message, ToolSpec

Outcome = Literal[
    "answered", "steps_spent", "tokens_spent", "context_full", "repeated_call", "no_answer", "cut_off", "answer_refused"
]
"""How a run ended: with an answer; at the limit of steps, of tokens or of the model's context; as the model made the
same call again after it was told not to; as its replies held neither an answer nor a call; as its answer broke off;
as its answer did not stand up to the agent's check."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a run may cost.

    Example: `Budget(steps=10, tokens=20_000)` ends after 10 replies or 20,000 written tokens, whichever is first.
    """

    steps: int = 30
    """Replies of the model."""
    tokens: int = 100_000
    """Tokens that the model may write in all replies together, thinking included."""
    reply_tokens: int | None = None
    """Tokens of one reply; None: what is left of `tokens`."""
    equal_calls: int = 3
    """So often may the same call bring the same result; the next one is answered by a warning, and one more ends the
    run."""
    poor_replies: int = 3
    """So many replies without an answer and without a readable call, in a row, end the run."""
    objections: int = 2
    """So often is the model told that its answer does not stand up to the check; the next such answer ends the run."""

    def __post_init__(self) -> None:
        for name in ("steps", "tokens", "equal_calls", "poor_replies"):
            if getattr(self, name) < 1:
                raise ValueError(f"the budget's {name} is {getattr(self, name)}; it must be 1 or more")
        if self.reply_tokens is not None and self.reply_tokens < 1:
            raise ValueError(f"the budget's reply_tokens is {self.reply_tokens}; it must be 1 or more")
        if self.objections < 0:
            raise ValueError(f"the budget's objections is {self.objections}; it must be 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A passage that a search brought, under the number by which an answer cites it.

    Example: `Source(number=3, place="guide.md:10-24", text="The server listens on port 8000 ...")`.
    """

    number: int
    place: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """The first record: the task, and all that the run was given.

    Example: `Started(task="What is 6 * 7?", agent={"kind": "assistant"}, model="spark", opening=(...), tools=(...))`.
    """

    kind: Literal["started"] = "started"
    version: Literal[1] = 1
    task: str
    agent: Mapping[str, Any]
    """The agent and its options, as `agent.agent_to_json` writes them."""
    model: str
    opening: tuple[Message, ...]
    """The messages before the model's first reply."""
    tools: tuple[ToolSpec, ...]
    dangerous: tuple[str, ...] = ()
    """Names of the tools that are called after a confirmation only."""
    budget: Budget = Budget()
    setup: Mapping[str, Any] = field(default_factory=dict)
    """What whoever started the run needs to know to set it up again; the loop does not read it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replied:
    """A reply of the model.

    Example: `Replied(message=Message(role="assistant", content="42"), finish_reason="stop", prompt_tokens=80,
    completion_tokens=3)`.
    """

    kind: Literal["replied"] = "replied"
    message: Message
    finish_reason: str
    """`stop` where the model ended it; else why it was cut, as in `trace.FinishReason`, or a server's own word."""
    prompt_tokens: int
    completion_tokens: int
    warnings: tuple[str, ...] = ()
    """What of the reply could not be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """Whether a dangerous call may be made.

    Example: `Decided(call_id="call_1", allowed=False, why="the user said no")`.
    """

    kind: Literal["decided"] = "decided"
    call_id: str
    allowed: bool
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Called:
    """A call begins; on the disk before the tool sees it."""

    kind: Literal["called"] = "called"
    call_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """What the model reads as the result of a call.

    Example: `Returned(call_id="call_1", content="42")`.
    """

    kind: Literal["returned"] = "returned"
    call_id: str
    content: str
    failed: bool = False
    by: Literal["tool", "loop"] = "tool"
    """`loop`: the call was not made, and the content says why."""
    sources: tuple[Source, ...] = ()
    """The passages in it, for an agent that cites them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What the loop tells the model as if the user said it.

    Example: `Told(content="Your reply was empty. Answer, or call a tool.", reason="poor_reply")`.
    """

    kind: Literal["told"] = "told"
    content: str
    reason: Literal["follow_up", "objection", "poor_reply"]
    """A stage of the agent's work; a complaint about its answer; a reply with neither answer nor call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed:
    """The run goes on in another process. Calls that had begun and not returned are of unknown outcome, and what was
    allowed before is asked about again: the file could say that it was allowed, whoever wrote it.
    """

    kind: Literal["resumed"] = "resumed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The last record.

    Example: `Ended(outcome="answered", answer="42")`.
    """

    kind: Literal["ended"] = "ended"
    outcome: Outcome
    answer: str
    """The model's answer; what it last said, where it gave none."""
    detail: str = ""
    """What stopped the run, for a human."""


Record = Started | Replied | Decided | Called | Returned | Told | Resumed | Ended
_RECORDS: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def record_to_line(record: Record) -> str:
    """Write a record as one line of JSON, without a line break."""
    return _RECORDS.dump_json(record).decode()


def record_from_line(line: str) -> Record:
    """Read a line of a transcript.

    Raises:
        ValueError: it is no record; the message names the field.
    """
    try:
        return _RECORDS.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ValueError(f"{place + ': ' if place else ''}{first['msg']}") from None


def plain(text: str) -> str:
    """Return text that any file takes: pairs of surrogates joined, halves of them replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
