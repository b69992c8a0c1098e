"""Replay a run from its records alone: no model is asked and no tool is called.

Every record must be what the loop does at its place, so that a replayed transcript is proof that the run went that
way, and what is resumed is a state that the loop itself could have reached.
"""

from collections.abc import Iterable, Iterator

from fulmen.agents.agent import Agent
from fulmen.agents.decision import Action, AnswerCall, AskModel, AskUser, Finish, MakeCalls, Tell, next_action
from fulmen.agents.records import Called, Decided, Ended, Record, Replied, Resumed, Returned, Told
from fulmen.agents.state import RunState


def replayed(agent: Agent, state: RunState, records: Iterable[Record]) -> Iterator[Record]:
    """Apply records to `state` and yield each.

    Raises:
        ValueError: a record is not what a run of this agent comes to at its place; the message has its number in the
            transcript.
    """
    for number, record in enumerate(records, 2):  # the first line is the `started` record
        try:
            if state.ended is None and not _follows(next_action(agent, state), record):
                raise ValueError(f"a `{record.kind}` record is not what a run of this agent comes to here")
            state.apply(record)
        except ValueError as error:
            raise ValueError(f"line {number} of the transcript: {error}") from None
        yield record


def _follows(action: Action, record: Record) -> bool:
    """Whether a record is what an action leads to."""
    match record:
        case Resumed():
            return True
        case Replied():
            return isinstance(action, AskModel)
        case Called():
            return isinstance(action, MakeCalls) and any(
                opened.call.id == record.call_id and not opened.begun for opened in action.opened
            )
        case Returned(by="loop"):
            return isinstance(action, AnswerCall) and action.result == record
        case Returned():
            if isinstance(action, AskUser):  # arguments that don't fit
                return action.opened.call.id == record.call_id and record.failed
            return isinstance(action, MakeCalls) and any(
                opened.call.id == record.call_id and opened.begun for opened in action.opened
            )
        case Decided():
            return isinstance(action, AskUser) and action.opened.call.id == record.call_id
        case Told():
            return isinstance(action, Tell) and action.told == record
        case Ended(outcome="context_full"):
            return isinstance(action, AskModel)
        case Ended():
            return isinstance(action, Finish) and action.ended == record
    return False
