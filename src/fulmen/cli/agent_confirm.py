"""Asks the user at the terminal: before a dangerous call, and before a transcript's programs and addresses are used.

Where there is no terminal, nothing is allowed that was not named on the command line.
"""

import json
import sys
from contextlib import suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.output import create_output
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from fulmen.agents import Answer, Confirm, Question, deny_all
from fulmen.cli.agent_setup import AgentSetup
from fulmen.cli.reply_view import without_controls


def terminal_confirm(console: Console) -> Confirm:
    """Return what asks at the terminal; without one, what refuses."""
    if not (sys.stdin.isatty() and console.is_terminal):
        return deny_all

    async def confirm(question: Question) -> Answer:
        console.print(_card(question))
        try:
            # Where the card is: stdout may be a file that gets the answer.
            terminal = create_output(always_prefer_tty=True)
            answer = await PromptSession[str](output=terminal).prompt_async("Allow this call? [y/N] ")
        except EOFError:
            answer = ""
        allowed = answer.strip().lower() in ("y", "yes")
        return Answer(allowed=allowed, why="the user said yes" if allowed else "the user said no")

    return confirm


def agree_to_setup(setup: AgentSetup, given: AgentSetup, console: Console) -> None:
    """Make sure that the user wants what a transcript would start or reach; a transcript is a file like any other.

    Raises:
        ValueError: the user does not, or can't be asked and has not repeated it on the command line.
    """
    unknown = [line for line in setup.reaches_out if line not in given.reaches_out]
    if not unknown:
        return
    what = "; ".join(map(without_controls, unknown))
    if not (sys.stdin.isatty() and console.is_terminal):
        raise ValueError(f"the transcript {what}: give the same options again, as nobody can be asked here")
    console.print(Text(f"The run of this transcript {what}.", style="yellow"))
    if console.input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ValueError("the run was not resumed")


def _card(question: Question) -> Panel:
    """The whole call: what is hidden can't be agreed with."""
    arguments = question.call.arguments
    with suppress(ValueError, RecursionError):
        arguments = json.dumps(json.loads(arguments), indent=2, ensure_ascii=False)
    text = Text(without_controls(arguments))
    if question.interrupted:
        note = "This call was interrupted when the run was killed. It may have taken effect already.\n"
        text = Text.assemble((note, "bold yellow"), text)
    title = Text(f"{without_controls(question.call.name)} needs your consent", style="bold")
    return Panel(text, title=title, title_align="left", border_style="yellow")
