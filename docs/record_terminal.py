"""Draw real sessions of `fulmen` as SVG pictures: `python docs/record_terminal.py chat docs/images/chat.svg`.

The programs run behind a pseudo-terminal; what they write goes through a terminal emulator (`pip install pyte`), and
the last screen, with its colours, through rich. Of empty lines in a row one is kept. Nothing in the picture is written
by hand but the commands and what the user types.
"""

import argparse
import itertools
import os
import pty
import select
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyte
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

EXAMPLES = Path(__file__).with_name("examples")
WIDTH, HEIGHT = 90, 72
QUIET_SECONDS = 2.5


@dataclass(frozen=True, kw_only=True)
class Session:
    """Commands that are run one after the other, and what is typed into each."""

    title: str
    commands: tuple[tuple[str, ...], ...]
    """Arguments of `fulmen`; each command is shown above what it writes if there are several."""
    typed: tuple[str, ...] = ()


SESSIONS = {
    "chat": Session(
        title="make chat",
        commands=(("chat", "--temperature", "0"),),
        typed=(
            "Hi",
            "Who are you?",
            "What is 417 + 285?",
            "Remember this: the code of Ada is 7351.",
            "What is 81 - 46?",
            "What is the code of Ada?",
            "/stats",
        ),
    ),
    "agent": Session(
        title="fulmen agent",
        commands=(
            ("agent", "What is 4817 * 392?", "--tools", "calculator"),
            ("agent", "When was Brackwater founded?", "--tools", "documents:docs/examples/village"),
            ("agent", "Find the ferry in Brackwater.", "--mcp", "ferry=python docs/examples/ferry.py"),
        ),
    ),
}  # fmt: skip


def style_of(cell: pyte.screens.Char) -> Style:
    """How a cell of the screen looks, in rich's words."""

    def color(name: str) -> Color | None:
        if name == "default":
            return None
        word = "bright_black" if name == "brightblack" else name.replace("brown", "yellow").replace("bright", "bright_")
        return Color.parse(f"#{name}" if len(name) == 6 and all(c in "0123456789abcdef" for c in name) else word)

    return Style(
        color=color(cell.fg),
        bgcolor=color(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


class Terminal:
    """A terminal emulator in front of a pseudo-terminal."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(WIDTH, HEIGHT)
        self._stream = pyte.ByteStream(self.screen)
        self._master, self._slave = pty.openpty()
        self.screen.write_process_input = lambda data: os.write(self._master, data.encode())

    def run(self, arguments: tuple[str, ...], typed: tuple[str, ...]) -> None:
        """Run a command to its end, or until it is quiet after the last line that is typed."""
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": str(HEIGHT)}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        command = [sys.executable, "-m", "fulmen", *arguments]
        files = {"stdin": self._slave, "stdout": self._slave, "stderr": self._slave}
        process = subprocess.Popen(command, env=environment, cwd=EXAMPLES.parents[1], **files)
        if not typed:
            while process.poll() is None:
                self._settle(0.2)
            return
        self._settle(20)
        for line in typed:
            for letter in line:
                os.write(self._master, letter.encode())
                self._settle(0.02)
            os.write(self._master, b"\r")
            self._settle(QUIET_SECONDS)
        process.kill()

    def show(self, text: str) -> None:
        """Write a line as if a program had."""
        self._stream.feed(f"{text}\r\n".encode())

    def _settle(self, quiet: float) -> None:
        end = time.monotonic() + quiet
        while time.monotonic() < end:
            if select.select([self._master], [], [], min(quiet, 0.1))[0]:
                self._stream.feed(os.read(self._master, 65536))
                end = time.monotonic() + quiet


def main() -> None:
    """Record the session and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("session", choices=SESSIONS)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    session, terminal = SESSIONS[options.session], Terminal()
    for arguments in session.commands:
        if len(session.commands) > 1:
            terminal.show(f"\x1b[1m$ {shlex.join(['fulmen', *arguments])}\x1b[0m")
        terminal.run(arguments, session.typed)
    screen = terminal.screen
    rows = [[screen.buffer[y][x] for x in range(WIDTH)] for y in range(HEIGHT)]
    blank = [all(cell.data == " " for cell in row) for row in rows]
    rows = [row for row, *empty in zip(rows, blank, [False, *blank], strict=False) if not all(empty)]
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115
    for row in rows:
        runs = ((style, "".join(cell.data for cell in cells)) for style, cells in itertools.groupby(row, style_of))
        console.print(Text.assemble(*((text, style) for style, text in runs)), soft_wrap=True)
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(options.picture), title=session.title)


if __name__ == "__main__":
    main()
