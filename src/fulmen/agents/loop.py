"""The loop of every agent: ask the model, make its calls, again until there is an answer or a budget is spent.

What to do is `decision`'s to say; here it is done. Every step leaves a record, which is on the disk (if there is a
transcript) before the next one begins, and goes to whoever watches.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fulmen.agents.agent import Agent, agent_to_json
from fulmen.agents.confirm import Confirm, Question, deny_all
from fulmen.agents.decision import AnswerCall, AskModel, AskUser, Finish, MakeCalls, Tell, context_full, next_action
from fulmen.agents.model import ContextFull, Model
from fulmen.agents.records import Budget, Called, Decided, Ended, Record, Resumed, Returned, Started, plain
from fulmen.agents.replay import replayed
from fulmen.agents.state import OpenCall, RunState
from fulmen.agents.transcript import Transcript
from fulmen.chat.message import ToolCall
from fulmen.chat.parser import Delta
from fulmen.tools.registry import ToolRegistry
from fulmen.tools.tool import ToolError

Watch = Callable[[Record | Delta], None]
"""Sees the pieces of replies as they come, and every record."""


def unwatched(event: Record | Delta) -> None:
    """Look away."""


class Run:
    """One run of an agent.

    Example::

        run = Run.start("What is 6 * 7?", agent=Agent(), model=model, tools=ToolRegistry([calculator()]))
        ended = await run.finish()
        ended.outcome, ended.answer  # ("answered", "6 * 7 is 42.")
    """

    def __init__(
        self,
        state: RunState,
        *,
        agent: Agent,
        model: Model,
        tools: ToolRegistry,
        confirm: Confirm,
        transcript: Transcript | None,
        watch: Watch,
    ) -> None:
        """Go on from `state`; `start` and `resume` are the ways to make one."""
        self.state = state
        self._agent = agent
        self._model = model
        self._tools = tools
        self._confirm = confirm
        self._transcript = transcript
        self._watch = watch

    @classmethod
    def start(
        cls,
        task: str,
        *,
        agent: Agent,
        model: Model,
        tools: ToolRegistry,
        budget: Budget | None = None,
        confirm: Confirm = deny_all,
        transcript: Transcript | None = None,
        watch: Watch = unwatched,
        setup: Mapping[str, Any] | None = None,
    ) -> "Run":
        """Begin a run.

        Args:
            task: what the user wants.
            agent: what kind of work it is.
            model: answers.
            tools: are offered to it.
            budget: what the run may cost.
            confirm: is asked before each call of a dangerous tool; without it, all of them are refused.
            transcript: keeps the records.
            watch: sees what happens.
            setup: kept in the transcript for whoever resumes the run.

        Raises:
            ValueError: the task is empty, or the agent can't work with these tools.
        """
        if not task.strip():
            raise ValueError("the task is empty: say what is to be done")
        agent.check_tools(tools.names)
        started = Started(
            task=plain(task),
            agent=agent_to_json(agent),
            model=model.name,
            opening=agent.opening(plain(task)),
            tools=tools.specs(),
            dangerous=tuple(name for name in tools.names if tools.is_dangerous(name)),
            budget=budget or Budget(),
            setup=setup or {},
        )
        if transcript is not None:
            transcript.append(started)
        watch(started)
        state = RunState(started)
        return cls(state, agent=agent, model=model, tools=tools, confirm=confirm, transcript=transcript, watch=watch)

    @classmethod
    def resume(
        cls,
        transcript: Transcript,
        started: Started,
        records: list[Record],
        *,
        agent: Agent,
        model: Model,
        tools: ToolRegistry,
        confirm: Confirm = deny_all,
        watch: Watch = unwatched,
    ) -> "Run":
        """Go on with a run from its transcript. Calls that have returned are not made again.

        Args:
            transcript: as `Transcript.reopen` gave it, with the next two.
            started: its first record.
            records: the others.
            agent, model, tools, confirm, watch: as for `start`.

        Raises:
            ValueError: the run has ended, the records are no run of this agent, or a tool that it had is missing or
                differs.
        """
        state = RunState(started)
        watch(started)
        for record in replayed(agent, state, records):
            watch(record)
        if state.ended is not None:
            raise ValueError(
                f"{transcript.path}: the run has ended ({state.ended.outcome}); there is nothing to resume"
            )
        _check_same_tools(started, tools)
        run = cls(state, agent=agent, model=model, tools=tools, confirm=confirm, transcript=transcript, watch=watch)
        run._record(Resumed())
        return run

    async def finish(self) -> Ended:
        """Carry the run out to its end.

        Raises:
            ModelFailed: the model could not answer; the run can be resumed.
        """
        while True:
            match next_action(self._agent, self.state):
                case AskModel(max_tokens=max_tokens):
                    await self._ask_model(max_tokens)
                case MakeCalls(opened=opened):
                    await self._make_all(opened)
                case AskUser(opened=opened):
                    await self._ask_user(opened)
                case AnswerCall(result=result):
                    self._record(result)
                case Tell(told=told):
                    self._record(told)
                case Finish(ended=ended):
                    self._record(ended)
            if self.state.ended is not None:
                return self.state.ended

    async def _ask_model(self, max_tokens: int) -> None:
        specs = self.state.started.tools if self._agent.offers_tools(self.state) else ()
        try:
            reply = await self._model.reply(self.state.messages, specs, max_tokens=max_tokens, watch=self._watch)
        except ContextFull as error:
            self._record(context_full(self.state, str(error)))
            return
        self._record(dataclasses.replace(reply, message=self.state.with_own_ids(reply.message)))

    async def _make_all(self, opened: Sequence[OpenCall]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for one in opened:
                    group.create_task(self._make(one))
        except ExceptionGroup as failures:  # a record that can't be written, for example
            raise failures.exceptions[0] from failures

    async def _make(self, opened: OpenCall) -> None:
        """Make a call. Both ends of it are recorded, so that a kill between them is known as one."""
        self._record(Called(call_id=opened.call.id))
        name = opened.call.name
        if name in self._tools.names and name not in {spec.name for spec in self.state.started.tools}:
            # Whether it is dangerous was settled when the run began, without this tool.
            self._record_result(opened.call, f"Error: {name} is no tool of this run, which began without it", True)
            return
        result = await self._tools.call(opened.call)
        self._record_result(opened.call, result.content, result.failed)

    def _record_result(self, call: ToolCall, content: str, failed: bool) -> None:
        shown, sources = self._agent.present(self.state, call, plain(content), failed)
        self._record(Returned(call_id=call.id, content=shown, failed=failed, sources=sources))

    async def _ask_user(self, opened: OpenCall) -> None:
        try:
            self._tools.arguments(opened.call)
        except ToolError as error:  # it would not be made: nobody needs to think about it
            self._record_result(opened.call, f"Error: {error}", True)
            return
        answer = await self._confirm(Question(call=opened.call, interrupted=opened.interrupted))
        self._record(Decided(call_id=opened.call.id, allowed=answer.allowed, why=answer.why))

    def _record(self, record: Record) -> None:
        if self._transcript is not None:
            self._transcript.append(record)
        self.state.apply(record)
        self._watch(record)


def _check_same_tools(started: Started, tools: ToolRegistry) -> None:
    """The prompt describes the tools of the first process; others would not fit what the model was told."""
    now = {spec.name: spec for spec in tools.specs()}
    for spec in started.tools:
        if spec.name not in now:
            raise ValueError(f"the run had a tool {spec.name} that is not there now: give it again")
        if now[spec.name].parameters != spec.parameters:
            raise ValueError(f"the tool {spec.name} takes other arguments than it did when the run began")
        if tools.is_dangerous(spec.name) != (spec.name in started.dangerous):
            raise ValueError(f"the tool {spec.name} was not marked as it is now when the run began: dangerous or not")
