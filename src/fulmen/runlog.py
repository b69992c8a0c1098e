"""What a long run tells: one JSON line of metrics per step, which outlives a kill, and its progress on the terminal.

No torch here. Training, evaluations and servers write the same kind of file, so that one reader draws all curves.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PLAIN_EVERY = 30.0  # seconds between lines of progress where there is no terminal


class RunLog:
    """A JSONL file of metrics whose lines carry rising values of `step`.

    Example::

        log = RunLog(folder / "metrics.jsonl", resume_step=120)  # drops the lines of steps after 120
        log.write(step=121, loss=2.31)
    """

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rewind(resume_step)

    def write(self, *, step: int, **facts: Any) -> None:
        """Append a line and hand it to the operating system, so that a kill of this process cannot lose it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **facts}) + "\n")

    def note(self, text: str) -> None:
        """Append a dated line to `events.log` beside the metrics, which nothing ever drops, and show it on stderr."""
        with self.path.with_name("events.log").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        print(text, file=sys.stderr, flush=True)

    def rewind(self, step: int) -> None:
        """Drop the lines of steps after `step`, and a last line that was cut off."""
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        temporary.replace(self.path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; none if there is no file. A last line that a kill cut off is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    try:
        return [json.loads(line) for line in lines[:-1]]  # what follows the last newline is empty or cut off
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} has a line that is no JSON: {error.doc[:80]!r}") from error


class Stopwatch:
    """Seconds since it was made or since the last lap.

    Example: `watch = Stopwatch(); work(); print(watch.lap())`.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start

    def lap(self) -> float:
        """Seconds so far; the watch starts again at 0."""
        seconds = self.seconds
        self._start += seconds
        return seconds


class ProgressDisplay:
    """Progress on stderr: a bar on a terminal, a line every half a minute elsewhere. Made by `progress`."""

    def __init__(self, name: str, total: int, bar: Progress | None) -> None:
        self._name, self._total, self._bar = name, total, bar
        self._task = None if bar is None else bar.add_task(name, total=total, facts="")
        self._since_line: Stopwatch | None = None

    def show(self, completed: int, facts: str) -> None:
        """Report that so much is done, with a few words on how it goes."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=completed, facts=facts)
        elif self._since_line is None or self._since_line.seconds >= _PLAIN_EVERY or completed == self._total:
            print(f"{self._name} {completed}/{self._total} {facts}", file=sys.stderr, flush=True)
            self._since_line = Stopwatch()


@contextmanager
def progress(name: str, total: int, *, shown: bool = True) -> Iterator[ProgressDisplay]:
    """Show progress towards `total` while the block runs; `shown` is False in all but one of several processes."""
    console = Console(stderr=True)
    if not console.is_terminal or not shown:
        yield ProgressDisplay(name, total, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        yield ProgressDisplay(name, total, bar)
