"""What a run does next: a pure function of where it stands.

    ask the model -> calls? --no--> answer good? --yes--> end
         ^            |                 |no
         |            v                 v
         |      answered by the loop   tell the model
         |      safe ones side by side  |
         |      dangerous ones, each    |
         |      asked for before it     |
         +------------+-----------------+

`loop` carries the actions out; `replay` checks that a transcript's records are what these actions lead to.
"""

from dataclasses import dataclass

from fulmen.agents.agent import Agent
from fulmen.agents.call_history import call_key
from fulmen.agents.records import Ended, Outcome, Returned, Told
from fulmen.agents.state import OpenCall, RunState


@dataclass(frozen=True, slots=True)
class AskModel:
    """Ask for the next reply, of at most so many tokens."""

    max_tokens: int


@dataclass(frozen=True, slots=True)
class AnswerCall:
    """Give a call this result without making it."""

    result: Returned


@dataclass(frozen=True, slots=True)
class AskUser:
    """Ask whether a dangerous call may be made."""

    opened: OpenCall


@dataclass(frozen=True, slots=True)
class MakeCalls:
    """Make these calls side by side."""

    opened: tuple[OpenCall, ...]


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the model something and go on."""

    told: Told


@dataclass(frozen=True, slots=True)
class Finish:
    """End the run."""

    ended: Ended


Action = AskModel | AnswerCall | AskUser | MakeCalls | Tell | Finish


def next_action(agent: Agent, state: RunState) -> Action:
    """Return what a run that has not ended does next."""
    if state.open_calls:
        return _for_calls(state)
    last = state.messages[-1]
    if last.role == "assistant":
        return _after_answer(agent, state)
    budget = state.started.budget
    if state.steps >= budget.steps:
        return _finish(state, "steps_spent", f"the budget of {budget.steps} steps is spent")
    if not state.tokens_left:
        return _finish(state, "tokens_spent", f"the budget of {budget.tokens:,} tokens is spent")
    return AskModel(min(budget.reply_tokens or state.tokens_left, state.tokens_left))


def _for_calls(state: RunState) -> Action:
    """Calls that the loop answers come first, then the safe ones together, then the dangerous ones in order."""
    counts: dict[str, int] = {}
    waiting: list[OpenCall] = []
    for opened in state.open_calls:
        key = call_key(opened.call)
        before = state.history.count(key) + counts.get(key, 0)
        counts[key] = counts.get(key, 0) + 1
        if opened.returned is not None:
            continue
        if before >= state.started.budget.equal_calls and not opened.begun and not opened.interrupted:
            if state.history.told(key):
                detail = f"{opened.call.name} was called again with the same arguments after the model was told not to"
                return _finish(state, "repeated_call", detail)
            return AnswerCall(_repeated(opened, before))
        waiting.append(opened)
    safe = tuple(opened for opened in waiting if not opened.dangerous)
    if safe:
        return MakeCalls(safe)
    first = waiting[0]
    if first.decided is None:
        return AskUser(first)
    if not first.decided.allowed:
        return AnswerCall(_denied(first, first.decided.why))
    return MakeCalls((first,))


def _repeated(opened: OpenCall, count: int) -> Returned:
    content = (
        f"Not called: {opened.call.name} has been called {count} times with these arguments and the result stays the "
        "same. Do something else, or answer with what you know; the same call once more ends the run."
    )
    return Returned(call_id=opened.call.id, content=content, failed=True, by="loop")


def _denied(opened: OpenCall, why: str) -> Returned:
    content = f"Not called: {opened.call.name} needs the user's consent, and {why}."
    if opened.interrupted:
        unknown = f"{opened.call.name} was interrupted, and whether it took effect is unknown"
        content = f"{unknown}. It was not called again: {why}."
    return Returned(call_id=opened.call.id, content=content, failed=True, by="loop")


def _after_answer(agent: Agent, state: RunState) -> Action:
    reply, budget = state.last_reply, state.started.budget
    assert reply is not None, "the last message is a reply's"
    if reply.finish_reason != "stop":
        if not state.tokens_left:
            return _finish(state, "tokens_spent", f"the budget of {budget.tokens:,} tokens is spent")
        detail = f"the answer broke off after {reply.completion_tokens:,} tokens: {_cut(reply.finish_reason)}"
        return _finish(state, "cut_off", detail)
    if reply.warnings or not reply.message.content.strip():
        if state.poor_replies + 1 >= budget.poor_replies:
            detail = f"{budget.poor_replies} replies in a row held neither an answer nor a call that can be read"
            return _finish(state, "no_answer", detail)
        return Tell(Told(content=_poor(reply.warnings), reason="poor_reply"))
    if (text := agent.follow_up(state)) is not None:
        return Tell(Told(content=text, reason="follow_up"))
    if (text := agent.objection(state)) is not None:
        if state.num_told["objection"] >= budget.objections:
            return _finish(state, "answer_refused", text)
        return Tell(Told(content=text, reason="objection"))
    return _finish(state, "answered")


def _poor(warnings: tuple[str, ...]) -> str:
    if not warnings:
        return "Your reply was empty. Answer the task, or call a tool."
    return f"Your tool call could not be read: {'; '.join(warnings)}. Write it again, as one JSON object on one line."


def _cut(finish_reason: str) -> str:
    reasons = {"length": "it reached the limit of a reply or of the context", "repetition": "the model repeats itself"}
    return reasons.get(finish_reason, finish_reason)


def context_full(state: RunState, why: str) -> Ended:
    """Return the end of a run whose next prompt does not fit the model."""
    return _finish(state, "context_full", why).ended


def _finish(state: RunState, outcome: Outcome, detail: str = "") -> Finish:
    answer = state.last_reply.message.content if state.last_reply is not None else ""
    return Finish(Ended(outcome=outcome, answer=answer, detail=detail))
