"""How a growing reply looks in a terminal: sections of thinking, text and tool calls, each in two parts.

What is certain is printed once and scrolls away like any output; what may still change is a few lines at the bottom
that `reply_view` redraws. A paragraph becomes certain when the next one begins, a line of thinking when it ends.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, Protocol

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_PARSER = MarkdownIt().enable("strikethrough").enable("table")
_LINE_START = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")  # of the lines that the parser counts
_DIM = "dim italic"


class Section(Protocol):
    """A run of deltas of one kind."""

    def feed(self, text: str) -> list[RenderableType]:
        """Take more text and return what became certain."""
        ...

    def close(self) -> list[RenderableType]:
        """End the section and return the rest of it."""
        ...

    def tail(self) -> RenderableType:
        """What may still change."""
        ...


class Trimmed:
    """A renderable without empty lines around it; with a height, only its last lines."""

    def __init__(self, content: RenderableType, *, height: int | None = None) -> None:
        """Wrap `content`; `height` in lines."""
        self._content = content
        self._height = height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render line by line."""
        lines = console.render_lines(self._content, options.update(height=None), pad=False)
        while lines and not _visible(lines[0]):
            lines.pop(0)
        while lines and not _visible(lines[-1]):
            lines.pop()
        for line in lines[-self._height :] if self._height else lines:
            yield from line
            yield Segment.line()


def split_blocks(text: str) -> tuple[list[str], str]:
    """Split Markdown into its blocks that are complete, and the last one, which may go on.

    Example: `split_blocks("One.\\n\\nTwo")` is `(["One.\\n\\n"], "Two")`. The pieces joined are the text.
    """
    starts = [token.map[0] for token in _PARSER.parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    lines = _LINE_START.split(text)
    bounds = [0, *starts[1:], len(lines)]
    pieces = ["".join(lines[i:j]) for i, j in pairwise(bounds)]
    return pieces[:-1], pieces[-1]


class _LeftHeading(Heading):
    """A heading at the left margin, whatever its level."""

    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {}


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "heading_open": _LeftHeading}


class TextSection:
    """The answer, in Markdown."""

    def __init__(self) -> None:
        self._pending = ""
        self._first = True

    def feed(self, text: str) -> list[RenderableType]:
        """Take more Markdown and return the blocks that are complete."""
        may_end = "\n" in text or self._pending.endswith("\n")
        self._pending += text
        if not may_end:
            return []
        blocks, self._pending = split_blocks(self._pending)
        return [part for block in blocks for part in self._render(block)]

    def close(self) -> list[RenderableType]:
        """Return what is left."""
        blocks, last = split_blocks(self._pending)
        return [part for block in (*blocks, last) for part in self._render(block)]

    def tail(self) -> RenderableType:
        """The block that goes on."""
        return _Markdown(self._pending)

    def _render(self, block: str) -> Iterator[RenderableType]:
        if block.strip():
            if not self._first:
                yield Text()
            self._first = False
            yield Trimmed(_Markdown(block))


class ThinkingSection:
    """The thinking: dimmed text, or one line that says how much there is."""

    def __init__(self, *, folded: bool) -> None:
        self.folded = folded
        self._text = ""
        self._printed = 0
        self._spinner = Spinner("dots", style="dim")

    def feed(self, text: str) -> list[RenderableType]:
        """Take more thinking and return the lines that are complete, if they are shown."""
        self._text += text
        return [] if self.folded else self._print(self._text.rfind("\n") + 1)

    def close(self) -> list[RenderableType]:
        """Return the rest, or the line that stands for all."""
        if not self.folded:
            return [*self._print(len(self._text)), Text()]
        count = len(self._text.split())
        words = "1 word" if count == 1 else f"{count} words"
        return [Text(f"Thought in {words} (/fold shows them)", style=_DIM), Text()]

    def tail(self) -> RenderableType:
        """The unfinished line; when folded, a sign of life with the last words."""
        if not self.folded:
            return Text(self._text[self._printed :], style=_DIM)
        line = Table.grid(padding=(0, 1))
        line.add_column()
        line.add_column(no_wrap=True, overflow="ellipsis")
        words = self._text.split()
        line.add_row(self._spinner, Text(f"Thinking, {len(words)} words: ... {' '.join(words[-6:])}", style=_DIM))
        return line

    def _print(self, end: int) -> list[RenderableType]:
        if end <= self._printed:
            return []
        text, self._printed = self._text[self._printed : end], end
        return [Text(text.rstrip("\n"), style=_DIM)]


class CallSection:
    """A tool call: its name and the JSON of its arguments."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._arguments = ""

    def feed(self, text: str) -> list[RenderableType]:
        """Take more of the arguments; a call is certain as a whole only."""
        self._arguments += text
        return []

    def close(self) -> list[RenderableType]:
        """Return the call."""
        return [self.tail()]

    def tail(self) -> RenderableType:
        """The call as far as it is known."""
        return Text.assemble((f"-> {self._name} ", "bold cyan"), (self._arguments, "cyan"))


def _visible(line: list[Segment]) -> bool:
    return any(segment.text.strip() for segment in line)
