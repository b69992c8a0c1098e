"""Where a run stands, as a function of its records: the conversation, what was spent, and the calls that are open.

`RunState.apply` takes the records one by one, whether they happen now or are read from a transcript; what comes next
is `decision.next_action`'s to say.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from fulmen.agents.call_history import CallHistory, call_key
from fulmen.agents.records import Called, Decided, Ended, Record, Replied, Resumed, Returned, Source, Started, Told
from fulmen.chat.message import Message, ToolCall


@dataclass(slots=True)
class OpenCall:
    """A call of the last reply, until all calls of that reply have returned.

    Example: a dangerous call that was allowed and is being made has `decided.allowed` and `begun`.
    """

    call: ToolCall
    dangerous: bool
    decided: Decided | None = None
    begun: bool = False
    interrupted: bool = False
    """The run was killed while the call was being made: what it did is unknown."""
    returned: Returned | None = None


class RunState:
    """A run up to its last record.

    Example::

        state = RunState(started)
        state.apply(Replied(message=Message(role="assistant", content="42"), ...))
        state.messages[-1].content  # "42"
    """

    def __init__(self, started: Started) -> None:
        """Begin with the opening messages."""
        self.started = started
        self.messages: list[Message] = list(started.opening)
        self.steps = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.last_reply: Replied | None = None
        self.open_calls: list[OpenCall] = []
        """Those of the last reply, in its order; empty once all have returned."""
        self.history = CallHistory()
        self.sources: list[Source] = []
        """The passages that searches have brought."""
        self.poor_replies = 0
        """Replies with neither answer nor readable call, in a row."""
        self.num_told = {"follow_up": 0, "objection": 0, "poor_reply": 0}
        self.ended: Ended | None = None

    def apply(self, record: Record) -> None:
        """Take the next record.

        Raises:
            ValueError: the record speaks of a call that is not open, or nothing may follow here.
        """
        if self.ended is not None:
            raise ValueError("the run has ended: nothing may follow")
        match record:
            case Started():
                raise ValueError("a run starts once")
            case Replied():
                self._reply(record)
            case Decided():
                self.open_call(record.call_id).decided = record
            case Called():
                self.open_call(record.call_id).begun = True
            case Returned():
                self._return(record)
            case Told():
                self.num_told[record.reason] += 1
                self.poor_replies += record.reason == "poor_reply"
                self.messages.append(Message(role="user", content=record.content))
            case Resumed():
                for opened in self.open_calls:
                    if opened.returned is None:  # a consent is no longer than the process that was given it
                        opened.begun, opened.interrupted, opened.decided = False, opened.begun, None
            case Ended():
                self.ended = record

    def open_call(self, call_id: str) -> OpenCall:
        """Return an open call; ValueError if none has this id."""
        for opened in self.open_calls:
            if opened.call.id == call_id:
                return opened
        raise ValueError(f"no call {call_id!r} is open")

    @property
    def tokens_left(self) -> int:
        """Tokens that the model may still write."""
        return max(self.started.budget.tokens - self.completion_tokens, 0)

    def with_own_ids(self, message: Message) -> Message:
        """Return a reply whose calls have ids that no call before them has: some models number anew in each reply."""
        taken = {call.id for earlier in self.messages for call in earlier.tool_calls} | {""}
        calls = []
        for index, call in enumerate(message.tool_calls):
            if call.id in taken:
                call = dataclasses.replace(call, id=f"call_{self.steps}_{index}")
            taken.add(call.id)
            calls.append(call)
        return dataclasses.replace(message, tool_calls=tuple(calls))

    def _reply(self, reply: Replied) -> None:
        self.steps += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.last_reply = reply
        self.messages.append(reply.message)
        self.open_calls = [
            OpenCall(call=call, dangerous=call.name in self.started.dangerous) for call in reply.message.tool_calls
        ]
        if self.open_calls:
            self.poor_replies = 0

    def _return(self, result: Returned) -> None:
        self.open_call(result.call_id).returned = result
        self.sources += result.sources
        results = [opened.returned for opened in self.open_calls]
        if all(results):
            self._close_step([result for result in results if result is not None])

    def _close_step(self, results: Sequence[Returned]) -> None:
        """The results stand in the order of the calls, whichever returned first."""
        for opened, result in zip(self.open_calls, results, strict=True):
            key = call_key(opened.call)
            if result.by == "loop" and opened.decided is None:
                self.history.add_told(key)
            else:
                self.history.add(key, result.content)
            self.messages.append(
                Message(role="tool", content=result.content, tool_call_id=opened.call.id, name=opened.call.name)
            )
        self.open_calls = []
        if self.last_reply is not None and self.last_reply.warnings:
            # Which call was not read the warnings don't say: it may be the one that was just answered.
            note = f"\n\nYour reply could not be read in full: {'; '.join(self.last_reply.warnings)}."
            last = self.messages.pop()
            self.messages.append(dataclasses.replace(last, content=last.content + note))
