"""The interactive chat: a prompt with history and completion, replies that stream, Ctrl-C that stops them.

While a reply streams, the terminal is in raw mode and keys are read here: Ctrl-C cancels the reply and is no signal
that would end the program or a `make` around it, Ctrl-T folds the thinking, other keys wait for the next prompt.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import AnyFormattedText
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.styles import Style
from rich.console import Console
from rich.text import Text

from fulmen.chat.message import Message
from fulmen.chat.parser import Delta
from fulmen.cli.reply_view import ReplyView
from fulmen.cli.session import ChatSession
from fulmen.cli.slash import COMMANDS, run_command

_REDRAW_SECONDS = 0.08
_STYLE = Style.from_dict({"prompt": "bold ansigreen", "bottom-toolbar": "noreverse ansibrightblack"})


class TerminalChat:
    """A conversation at a terminal."""

    def __init__(self, session: ChatSession, console: Console, *, label: str, history: Path) -> None:
        """Prepare; `label` names the model below the prompt, `history` keeps what was typed."""
        self.session = session
        self.console = console
        self.folded = True
        self._label = label
        self._typed = ""
        self._keys: Input = create_input()
        history.parent.mkdir(parents=True, exist_ok=True)
        self._prompt: PromptSession[str] = PromptSession(
            history=FileHistory(str(history)),
            completer=SlashCompleter(),
            key_bindings=self._bindings(),
            bottom_toolbar=self._status,
            style=_STYLE,
            input=self._keys,
        )

    def run(self) -> None:
        """Talk until the user leaves."""
        with asyncio.Runner() as self._runner:
            while True:
                try:
                    line = self._read([("class:prompt", "> ")])
                    if line.startswith("/"):
                        run_command(self, line)
                    elif line:
                        self.answer(line)
                except KeyboardInterrupt:
                    self.say("Ctrl-D leaves.")
                except EOFError:
                    return
                except (ValueError, OSError) as error:
                    self.console.print(Text(str(error), style="red"))

    def answer(self, text: str) -> None:
        """Answer `text`, then the results of tools that the reply asks for. Stopped at once, it can be edited."""
        if self._stream(self.session.ask(text)):
            self._answer_results()
        else:
            self._typed = self._typed or text

    def retry(self) -> None:
        """Answer the last message again."""
        if self._stream(self.session.retry()):
            self._answer_results()

    def say(self, text: str) -> None:
        """Tell the user something that is no part of the conversation."""
        self.console.print(Text(text, style="dim"))

    def toggle_fold(self) -> None:
        """Fold the thinking, or unfold it and show that of the last reply."""
        self.folded = not self.folded
        last = self.session.messages[-1].thinking if self.session.messages else None
        self.say("Thinking is folded." if self.folded else last or "Thinking is shown.")

    def _read(self, prompt: AnyFormattedText) -> str:
        line, entered, rest = self._typed.partition("\r")
        self._typed = rest
        return self._prompt.prompt(prompt, default=line, accept_default=bool(entered)).strip()

    def _answer_results(self) -> None:
        while calls := self.session.messages[-1].tool_calls:
            results = [self._read([("class:prompt", f"result of {call.name}> ")]) for call in calls]
            if not any(results):
                self.say("No result given: the call stays unanswered.")
                return
            messages = [
                Message(role="tool", content=result, tool_call_id=call.id, name=call.name)
                for call, result in zip(calls, results, strict=True)
            ]
            if not self._stream(self.session.reply(*messages)):
                return

    def _stream(self, deltas: AsyncGenerator[Delta, None]) -> bool:
        """Show a reply; False when it was stopped before it began, and the conversation is as it was."""
        before = len(self.session.stats)
        try:
            self._runner.run(self._show(deltas))
        except (KeyboardInterrupt, asyncio.CancelledError):
            began = len(self.session.stats) > before
            self.say("Stopped." if began else "Stopped before the first word: the conversation is as it was.")
        else:
            began = True
            if note := self.session.stats[-1].cut_short:
                self.say(note)
        self.console.print()
        return began

    async def _show(self, deltas: AsyncGenerator[Delta, None]) -> None:
        """Draw a reply until it ends or is stopped; then asyncio.CancelledError is raised."""
        with ReplyView(self.console, folded=self.folded) as view:
            reply = asyncio.ensure_future(_pump(deltas, view))
            try:
                with self._reading_keys(reply, view):
                    while not reply.done():
                        await asyncio.wait({reply}, timeout=_REDRAW_SECONDS)
                        view.refresh()
            finally:
                reply.cancel()
                await asyncio.wait({reply})
                self.folded = view.folded
        reply.result()

    @contextmanager
    def _reading_keys(self, reply: asyncio.Future[None], view: ReplyView) -> Iterator[None]:
        def on_keys() -> None:
            for press in self._keys.read_keys():
                if press.key == Keys.ControlC:
                    reply.cancel()
                elif press.key == Keys.ControlT:
                    view.toggle_fold()
                elif press.data.isprintable() or press.key == Keys.ControlM:
                    self._typed += press.data

        with self._keys.raw_mode(), self._keys.attach(on_keys):
            yield

    def _status(self) -> AnyFormattedText:
        replies = self.session.stats
        if not replies:
            return f"{self._label}  /help"
        last = replies[-1]
        tokens = last.prompt_tokens + last.completion_tokens
        return f"{self._label}  {tokens:,} tokens so far  {last.decode_speed:,.1f} tokens/s"

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("c-t")
        def _fold(event: KeyPressEvent) -> None:
            event.app.exit(result="/fold")

        @bindings.add("escape", "enter")
        def _new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        return bindings


class SlashCompleter(Completer):
    """Completes the names of slash commands, and files behind those that take one."""

    def __init__(self) -> None:
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Return what may stand at the cursor."""
        name, blank, argument = document.text_before_cursor.partition(" ")
        if not blank and name.startswith("/"):
            for candidate, command in COMMANDS.items():
                if candidate.startswith(name):
                    yield Completion(candidate, -len(name), display_meta=command.summary)
        elif name in COMMANDS and COMMANDS[name].takes_path:
            yield from self._paths.get_completions(Document(argument), complete_event)


async def _pump(deltas: AsyncGenerator[Delta, None], view: ReplyView) -> None:
    async with aclosing(deltas):
        async for delta in deltas:
            view.show(delta)
