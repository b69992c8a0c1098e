"""Starts, resumes and replays runs of `fulmen agent`, at a terminal or in a script.

At a terminal all is shown there. Elsewhere the answer with its sources goes to stdout, and what happens to stderr.
"""

import asyncio
import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from fulmen.agents import Budget, Confirm, Ended, Model, ModelFailed, Run, Transcript, allow_named, read_transcript
from fulmen.agents.kinds import agent_from_json
from fulmen.agents.loop import Watch
from fulmen.agents.records import Source
from fulmen.agents.replay import replayed
from fulmen.agents.state import RunState
from fulmen.catalog import home
from fulmen.cli.agent_confirm import agree_to_setup, terminal_confirm
from fulmen.cli.agent_setup import AgentSetup, make_agent, setup_from_json, working
from fulmen.cli.agent_view import AgentView, source_lines

if TYPE_CHECKING:
    from fulmen.tools.registry import ToolRegistry

Begin = Callable[[Model, "ToolRegistry", Confirm, Watch], Run]


def start_run(
    task: str, setup: AgentSetup, *, budget: Budget, allowed: Collection[str], api_key: str | None, path: Path | None
) -> None:
    """Carry out a task.

    Args:
        task: what is to be done.
        setup: model, tools and agent.
        budget: what it may cost.
        allowed: dangerous tools that may be called without asking.
        api_key: for the endpoint.
        path: of the transcript; None: a new file in Fulmen's folder.

    Raises:
        ValueError: something of it can't be used.
        OSError, RuntimeError: something can't be reached, or the run ends without an answer.
    """
    agent = make_agent(setup)
    if path is None:
        path = home() / "agents" / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() // 1000 % 1_000_000:06}.jsonl"
    elif path.exists():
        raise ValueError(f"{path} is there already: resume it, or name another file for a new run")
    with ExitStack() as stack:

        def begin(model: Model, tools: "ToolRegistry", confirm: Confirm, watch: Watch) -> Run:
            agent.check_tools(tools.names)  # before there is a file
            return Run.start(
                task,
                agent=agent,
                model=model,
                tools=tools,
                budget=budget,
                confirm=confirm,
                transcript=stack.enter_context(Transcript.create(path)),
                watch=watch,
                setup=dataclasses.asdict(setup),
            )

        _finish(begin, setup, path, allowed=allowed, api_key=api_key)


def resume_run(path: Path, given: AgentSetup, *, allowed: Collection[str], api_key: str | None) -> None:
    """Go on with a run, with the model and tools that its transcript names.

    Args:
        path: of the transcript.
        given: what the command line says now; what it repeats of programs and addresses is agreed with.
        allowed: dangerous tools that may be called without asking.
        api_key: for the endpoint.

    Raises:
        ValueError: the transcript can't be resumed, or the user does not agree with what it would start.
        OSError, RuntimeError: as `start_run`.
    """
    with ExitStack() as stack:
        transcript, started, records = Transcript.reopen(path)
        stack.enter_context(transcript)
        setup = setup_from_json(started.setup)
        agree_to_setup(setup, given, _console())
        agent = agent_from_json(started.agent)

        def begin(model: Model, tools: "ToolRegistry", confirm: Confirm, watch: Watch) -> Run:
            return Run.resume(
                transcript, started, records, agent=agent, model=model, tools=tools, confirm=confirm, watch=watch
            )

        _finish(begin, setup, path, allowed=allowed, api_key=api_key)


def replay_run(path: Path) -> None:
    """Show a run again.

    Raises:
        ValueError: the file is no transcript of a run.
        RuntimeError: the run ended without an answer, or has not ended.
    """
    started, records = read_transcript(path)
    agent = agent_from_json(started.agent)
    view = AgentView(_console())
    view.show(started)
    state = RunState(started)
    for record in replayed(agent, state, records):
        view.show(record)
    if state.ended is None:
        raise RuntimeError(f"the run has not ended; go on with it by: {_resume_command(path)}")
    _report(state.ended, state.sources)


def _finish(begin: Begin, setup: AgentSetup, path: Path, *, allowed: Collection[str], api_key: str | None) -> None:
    """Carry a run out, and say how to go on where it stops on the way."""
    try:
        ended, sources = asyncio.run(_carry_out(begin, setup, allowed, api_key))
    except ModelFailed as error:
        hint = f". The run can go on: {_resume_command(path)}" if path.exists() else ""
        raise RuntimeError(f"{error}{hint}") from error
    except KeyboardInterrupt:
        hint = f" Go on with: {_resume_command(path)}" if path.exists() else ""
        print(f"\nStopped.{hint}", file=sys.stderr)
        raise typer.Exit(130) from None
    print(f"Transcript: {path}", file=sys.stderr)
    _report(ended, sources)


async def _carry_out(
    begin: Begin, setup: AgentSetup, allowed: Collection[str], api_key: str | None
) -> tuple[Ended, Sequence[Source]]:
    console = _console()
    view = AgentView(console)
    async with working(setup, api_key=api_key) as (model, tools):
        for name in allowed:
            if name not in tools.names:
                raise ValueError(f"--yes {name}: there is no such tool; there are: {', '.join(tools.names) or 'none'}")
        run = begin(model, tools, allow_named(allowed, terminal_confirm(console)), view.show)
        return await view.while_running(run.finish()), run.state.sources


def _report(ended: Ended, sources: Sequence[Source]) -> None:
    if ended.outcome != "answered":
        raise RuntimeError(f"the run ended without an answer ({ended.outcome}): {ended.detail}")
    if not sys.stdout.isatty():
        lines = source_lines(ended, sources)
        print(ended.answer, *([""] if lines else []), *lines, sep="\n")


def _console() -> Console:
    return Console(stderr=not sys.stdout.isatty())


def _resume_command(path: Path) -> str:
    return f"fulmen agent --resume {shlex.quote(str(path))}"
