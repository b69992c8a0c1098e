"""The commands of `fulmen chat` that begin with a slash: what each is called, what it does, how it completes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from fulmen.chat.message import messages_from_openai, tools_from_openai

if TYPE_CHECKING:
    from fulmen.cli.terminal import TerminalChat


@dataclass(frozen=True, kw_only=True, slots=True)
class SlashCommand:
    """One command.

    Example: `SlashCommand(argument="FILE", summary="write the conversation to a file", run=_save)`.
    """

    run: Callable[["TerminalChat", str], None]
    """Called with the chat and what follows the command's name. ValueError and OSError are shown to the user."""
    summary: str
    argument: str = ""
    takes_path: bool = False


def run_command(chat: "TerminalChat", line: str) -> None:
    """Run a line such as `/think 500`.

    Raises:
        ValueError: there is no such command, or its argument is wrong.
        OSError: a file can't be read or written.
    """
    name, _, argument = line.partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        raise ValueError(f"{name} is no command; /help lists them")
    command.run(chat, argument.strip())


def _help(chat: "TerminalChat", argument: str) -> None:
    table = Table.grid(padding=(0, 2))
    for name, command in COMMANDS.items():
        table.add_row(f"[bold]{name}[/] {command.argument}", command.summary)
    table.add_row("[bold]Ctrl-C[/]", "stop the reply; at an empty prompt, nothing")
    table.add_row("[bold]Ctrl-T[/]", "fold or unfold the thinking, also while it goes on")
    table.add_row("[bold]Alt-Enter[/]", "begin a new line")
    table.add_row("[bold]Ctrl-D[/]", "leave")
    chat.console.print(table)


def _think(chat: "TerminalChat", argument: str) -> None:
    session = chat.session
    if argument in ("", "on", "off"):
        session.thinking_budget = 0 if argument == "off" else None
    elif argument.isdecimal():
        session.thinking_budget = int(argument)
    else:
        raise ValueError(f"/think takes a number of tokens, on or off, not {argument!r}")
    budget = session.thinking_budget
    limit = "as long as it likes" if budget is None else f"for at most {budget} tokens" if budget else "not at all"
    trained = "" if session.thinks else ", though this model was not trained to think"
    chat.say(f"The model may think {limit}{trained}.")


def _fold(chat: "TerminalChat", argument: str) -> None:
    chat.toggle_fold()


def _tools(chat: "TerminalChat", argument: str) -> None:
    if not argument:
        names = ", ".join(tool.name for tool in chat.session.tools)
        chat.say(f"Tools: {names}." if names else "No tools. /tools FILE reads a JSON list of them.")
        return
    chat.session.tools = () if argument == "off" else tools_from_openai(_read_json(argument))
    chat.say(f"{len(chat.session.tools)} tools." if chat.session.tools else "No tools from now on.")


def _system(chat: "TerminalChat", argument: str) -> None:
    if argument:
        chat.session.system = None if argument == "off" else argument
    chat.say(f"System message: {chat.session.system or 'none of yours'}")


def _save(chat: "TerminalChat", argument: str) -> None:
    path = _path(argument, "/save")
    messages = [message.to_openai() for message in chat.session.messages]
    path.write_text(json.dumps({"messages": messages}, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    chat.say(f"{len(messages)} messages written to {path}.")


def _load(chat: "TerminalChat", argument: str) -> None:
    content = _read_json(_path(argument, "/load"))
    messages = messages_from_openai(content.get("messages") if isinstance(content, dict) else content)
    chat.session.messages = list(messages)
    chat.say(f"{len(messages)} messages read. The last: {messages[-1].content[:200]}")


def _stats(chat: "TerminalChat", argument: str) -> None:
    replies = chat.session.stats
    if not replies:
        chat.say("No reply yet.")
        return
    last = replies[-1]
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "prompt",
        f"{last.prompt_tokens:,} tokens, {last.cached_tokens:,} of them known already",
        f"{last.prefill_speed:,.0f} tokens/s",
    )
    table.add_row(
        "reply",
        f"{last.completion_tokens:,} tokens, {last.reasoning_tokens:,} of them thinking",
        f"{last.decode_speed:,.1f} tokens/s",
    )
    table.add_row("first token", f"after {last.prefill_seconds:.2f} s")
    table.add_row("ended", last.finish_reason or "stopped by you")
    written = sum(reply.completion_tokens for reply in replies)
    table.add_row("in all", f"{len(replies)} replies, {written:,} tokens written")
    chat.console.print(table)


def _clear(chat: "TerminalChat", argument: str) -> None:
    chat.session.clear()
    chat.say("The conversation begins anew.")


def _retry(chat: "TerminalChat", argument: str) -> None:
    chat.retry()


def _exit(chat: "TerminalChat", argument: str) -> None:
    raise EOFError


def _path(argument: str, command: str) -> Path:
    if not argument:
        raise ValueError(f"{command} needs the name of a file")
    return Path(argument).expanduser()


def _read_json(name: str | Path) -> object:
    path = Path(name).expanduser()
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None


COMMANDS = {
    "/help": SlashCommand(run=_help, summary="show this list"),
    "/think": SlashCommand(
        run=_think, argument="N|on|off", summary="tokens that the model may think before it answers"
    ),
    "/fold": SlashCommand(run=_fold, summary="fold or unfold the thinking"),
    "/tools": SlashCommand(
        run=_tools,
        argument="FILE|off",
        summary="tools that the model may call, as OpenAI's API writes them",
        takes_path=True,
    ),
    "/system": SlashCommand(run=_system, argument="TEXT|off", summary="set the system message"),
    "/save": SlashCommand(run=_save, argument="FILE", summary="write the conversation to a file", takes_path=True),
    "/load": SlashCommand(run=_load, argument="FILE", summary="go on with a conversation from a file", takes_path=True),
    "/stats": SlashCommand(run=_stats, summary="tokens and speed of the last reply"),
    "/retry": SlashCommand(run=_retry, summary="answer the last message again"),
    "/clear": SlashCommand(run=_clear, summary="forget the conversation, but not the system message"),
    "/exit": SlashCommand(run=_exit, summary="leave, as Ctrl-D does"),
}
"""By name, in the order of /help."""
