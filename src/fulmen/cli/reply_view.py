"""Shows one reply in a terminal while it grows: deltas in, `sections` on the screen.

The lines that may still change are drawn by rich's `Live`, never more of them than the screen is high; everything
else is printed above them once, so that scrollback holds the whole reply and nothing flickers.
"""

from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from fulmen.chat.parser import Delta, TextDelta, ThinkingDelta, ToolCallArguments, ToolCallStart
from fulmen.cli.sections import CallSection, Section, TextSection, ThinkingSection, Trimmed

_DIRECTIONS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]  # make text look like another one
_CONTROLS = {code: None for code in [*range(0x20), *range(0x7F, 0xA0), *_DIRECTIONS] if chr(code) not in "\n\r\t"}


def without_controls(text: str) -> str:
    """Return a text without what would steer the terminal: a model or a tool may write anything."""
    return text.translate(_CONTROLS)


class ReplyView:
    """A context manager around one reply.

    Example::

        with ReplyView(console, folded=True) as view:
            async for delta in session.ask("Why is the sky blue?"):
                view.show(delta)
    """

    def __init__(self, console: Console, *, folded: bool) -> None:
        """Prepare; `folded` shows one line instead of the thinking."""
        self._console = console
        self._section: Section | None = None
        self._waiting = Spinner("dots", style="dim")
        self._live = Live(self, console=console, auto_refresh=False, transient=True)
        self.folded = folded

    def __enter__(self) -> Self:
        """Draw the sign of life that stands until the first token."""
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print what is left, however the reply ended."""
        self._enter(None)
        self._live.stop()

    def show(self, delta: Delta) -> None:
        """Take the next delta; the screen follows at the next `refresh`, or at once where something is certain."""
        if isinstance(delta, ThinkingDelta):
            if not isinstance(self._section, ThinkingSection):
                self._enter(ThinkingSection(folded=self.folded))
        elif isinstance(delta, TextDelta):
            if not isinstance(self._section, TextSection):
                self._enter(TextSection())
        elif isinstance(delta, ToolCallStart):
            self._enter(CallSection(without_controls(delta.name)))
            return
        elif not isinstance(delta, ToolCallArguments):
            self._enter(None)
            self._print([Text(without_controls(f"Warning: {delta.text}"), style="yellow")])
            return
        if self._section is not None:
            self._print(self._section.feed(without_controls(delta.text)))

    def toggle_fold(self) -> None:
        """Fold the thinking that is being shown, or unfold it."""
        self.folded = not self.folded
        if isinstance(self._section, ThinkingSection):
            self._section.folded = self.folded
            self._print(self._section.feed(""))
            self.refresh()

    def refresh(self) -> None:
        """Redraw the lines that change; called a few times a second, so that signs of life move."""
        self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the lines that may still change."""
        tail = self._waiting if self._section is None else self._section.tail()
        yield Trimmed(tail, height=max(console.height - 2, 1))

    def _enter(self, section: Section | None) -> None:
        """Close the open section and begin another."""
        closing, self._section = self._section, section
        if closing is not None:
            self._print(closing.close())

    def _print(self, parts: list[RenderableType]) -> None:
        for part in parts:
            self._console.print(part)
