"""Shows a run of an agent: replies as they grow, a card for each result, what the loop decides, how it ends.

Sees the same events live and in a replay.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from fulmen.agents.model import deltas_of
from fulmen.agents.records import Called, Decided, Ended, Record, Replied, Resumed, Returned, Source, Started, Told
from fulmen.agents.search_agent import cited_sources
from fulmen.chat.message import ToolCall
from fulmen.chat.parser import Delta
from fulmen.cli.reply_view import ReplyView, without_controls

_MAX_LINES, _MAX_LETTERS = 12, 1500
_REDRAW_SECONDS = 0.08


class AgentView:
    """Draws events on a console.

    Example::

        view = AgentView(Console())
        run = Run.start(task, ..., watch=view.show)
        ended = await view.while_running(run.finish())
    """

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._console = console
        self._reply: ReplyView | None = None
        self._calls: dict[str, ToolCall] = {}
        self._sources: list[Source] = []

    async def while_running(self, run: Coroutine[Any, Any, Ended]) -> Ended:
        """Await a run and redraw what moves, a few times a second."""
        redrawing = asyncio.create_task(self._redraw())
        try:
            return await run
        finally:
            redrawing.cancel()
            self._close_reply()

    async def _redraw(self) -> None:
        while True:
            await asyncio.sleep(_REDRAW_SECONDS)
            if self._reply is not None:
                self._reply.refresh()

    def show(self, event: Record | Delta) -> None:
        """Take the next event."""
        match event:
            case Started():
                self._say(f"Task: {event.task}", "bold")
                tools = ", ".join(tool.name for tool in event.tools) or "none"
                self._say(f"{event.agent['kind']}, {event.model}; tools: {tools}\n", "dim")
            case Replied():
                self._end_reply(event)
            case Called():
                pass  # the call was shown with the reply
            case Decided():
                self._say(f"{'Allowed' if event.allowed else 'Refused'}: {event.why}", "dim")
            case Returned():
                self._sources += event.sources
                self._print(self._card(event))
            case Told():
                self._say(f"Told the model: {event.content}", "yellow")
            case Resumed():
                self._say("Resumed.", "dim")
            case Ended():
                self._end(event)
            case _:
                self._piece(event)

    def _piece(self, delta: Delta) -> None:
        if self._reply is None:
            self._reply = ReplyView(self._console, folded=False)
            self._reply.__enter__()
        self._reply.show(delta)

    def _end_reply(self, reply: Replied) -> None:
        if self._reply is None:  # a replay, or a model that does not stream
            for delta in deltas_of(reply.message):
                self._piece(delta)
        self._close_reply()
        self._calls |= {call.id: call for call in reply.message.tool_calls}
        for warning in reply.warnings:
            self._say(f"Warning: {warning}", "yellow")

    def _close_reply(self) -> None:
        if self._reply is not None:
            self._reply.__exit__(None, None, None)
            self._reply = None

    def _card(self, result: Returned) -> Panel:
        call = self._calls.get(result.call_id)
        name, arguments = (call.name, call.arguments) if call else ("?", "")
        title = Text.assemble((without_controls(name), "bold"), without_controls(f" {' '.join(arguments.split()):.60}"))
        style = "red" if result.failed else "cyan"
        return Panel(
            Text(shortened(without_controls(result.content))), title=title, title_align="left", border_style=style
        )

    def _end(self, ended: Ended) -> None:
        for line in source_lines(ended, self._sources):
            self._say(line, "dim")
        if ended.outcome != "answered":
            self._say(f"No answer ({ended.outcome}): {ended.detail}", "bold yellow")

    def _say(self, text: str, style: str) -> None:
        self._print(Text(without_controls(text), style=style))

    def _print(self, content: Text | Panel) -> None:
        self._close_reply()
        self._console.print(content)


def source_lines(ended: Ended, sources: Sequence[Source]) -> list[str]:
    """The passages that an answer cites, a line for each: number, place and how it begins."""
    cited = cited_sources(ended.answer, sources) if ended.outcome == "answered" else ()
    return [f"[{source.number}] {source.place}: {' '.join(source.text.split()):.100}" for source in cited]


def shortened(text: str) -> str:
    """Return the beginning of a text, and how much more there is."""
    lines = text.split("\n")
    shown = "\n".join(lines[:_MAX_LINES])[:_MAX_LETTERS]
    return shown if shown == text else f"{shown}\n... {len(text) - len(shown):,} more characters"
