"""A run's folder: one command works in it at a time, and what a run was begun with stays as it was."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"
"""The file of a run's folder with one line per step."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, while the block runs; however the process ends, it lets go.

    Raises:
        ValueError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another process works in {folder}: wait for it, stop it, or name another folder"
            ) from error
        yield


def agree(file: Path, facts: Mapping[str, Any]) -> None:
    """Write down what a run is begun with; or, where it is written already, see that it is the same.

    Raises:
        ValueError: it is not; the message names what differs.
    """
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return
    before, now = json.loads(file.read_text(encoding="utf-8")), json.loads(json.dumps(facts))
    differing = [key for key in now if before.get(key) != now[key]]
    if differing:
        was = ", ".join(f"{key} {before.get(key)!r}" for key in differing)
        raise ValueError(
            f"{file.parent} holds a run that was started with {was}: repeat that to continue it, or remove the folder"
        )
