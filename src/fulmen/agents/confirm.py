"""Who is asked before a dangerous tool is called.

Nothing that a model writes or a tool returns can stand in for the answer: the loop asks for every call of a tool that
is marked as dangerous, whatever led to it.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from fulmen.chat.message import ToolCall


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A dangerous call that the model wants to make.

    Example: `Question(call=ToolCall(id="call_1", name="write_file", arguments='{"path": "a"}'), interrupted=False)`.
    """

    call: ToolCall
    interrupted: bool
    """The call had begun when an earlier process of this run was killed; it may have taken effect already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Whether the call may be made.

    Example: `Answer(allowed=False, why="the user said no")`. The model reads the reason of a refusal.
    """

    allowed: bool
    why: str


Confirm = Callable[[Question], Awaitable[Answer]]
"""Answers a question; may wait for a human."""


async def deny_all(question: Question) -> Answer:
    """Refuse: what happens where nobody can be asked."""
    return Answer(allowed=False, why="there is nobody to ask")


def allow_named(names: Collection[str], otherwise: Confirm = deny_all) -> Confirm:
    """Allow the tools of these names without asking, and ask `otherwise` about the rest.

    A call of unknown outcome is asked about in any case: what was allowed was to make it once.
    """

    async def confirm(question: Question) -> Answer:
        if question.call.name in names and not question.interrupted:
            return Answer(allowed=True, why="allowed for this tool in advance")
        return await otherwise(question)

    return confirm
