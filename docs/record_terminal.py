"""Draw a real `fulmen chat` session as an SVG picture: `python docs/record_terminal.py docs/images/chat.svg`.

The program runs behind a pseudo-terminal; what it writes goes through a terminal emulator (`pip install pyte`), and
the last screen, with its colours, through rich. Of empty lines in a row one is kept. Nothing in the picture is written
by hand but what the user types.
"""

import argparse
import itertools
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pyte
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

TYPED = (
    "What is the capital of France?",
    "Write a Python function that checks if a number is even.",
    "/stats",
)
WIDTH, HEIGHT = 90, 36
QUIET_SECONDS = 2.5


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


def record(lines: tuple[str, ...]) -> pyte.Screen:
    """Type the lines one after the other, each once the program is quiet, and return the screen as it is then."""
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.ByteStream(screen)
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": str(HEIGHT)}
    command = [sys.executable, "-m", "fulmen", "chat", "--temperature", "0"]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, close_fds=True)
    screen.write_process_input = lambda data: os.write(master, data.encode())

    def settle(quiet: float) -> None:
        end = time.monotonic() + quiet
        while time.monotonic() < end:
            if select.select([master], [], [], 0.1)[0]:
                stream.feed(os.read(master, 65536))
                end = time.monotonic() + quiet

    settle(20)
    for line in lines:
        for letter in line:
            os.write(master, letter.encode())
            settle(0.02)
        os.write(master, b"\r")
        settle(QUIET_SECONDS)
    process.kill()
    return screen


def main() -> None:
    """Record the session and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    screen = record(TYPED)
    rows = [[screen.buffer[y][x] for x in range(WIDTH)] for y in range(HEIGHT)]
    blank = [all(cell.data == " " for cell in row) for row in rows]
    rows = [row for row, *empty in zip(rows, blank, [False, *blank], strict=False) if not all(empty)]
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115
    for row in rows:
        runs = ((style, "".join(cell.data for cell in cells)) for style, cells in itertools.groupby(row, style_of))
        console.print(Text.assemble(*((text, style) for style, text in runs)), soft_wrap=True)
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(options.picture), title="make chat")


if __name__ == "__main__":
    main()
