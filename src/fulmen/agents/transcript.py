"""A run as a file: one record a line, each on the disk before the run goes on.

Whatever kills the process, at most the line that was being written is lost; it is cut off when the file is opened
again. A file belongs to one process at a time.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from fulmen.agents.records import Record, Started, record_from_line, record_to_line


class Transcript:
    """An open transcript, to which records are appended.

    Example::

        with Transcript.create(Path("run.jsonl")) as transcript:
            transcript.append(started)
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take over an open file; `create` and `reopen` are the ways to make one."""
        self.path = path
        self._descriptor = descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ValueError(f"{path} belongs to a run that another process carries out now") from None

    @classmethod
    def create(cls, path: Path) -> Self:
        """Begin a new file, which only its owner may read.

        Raises:
            ValueError: there is a file of this name.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ValueError(f"{path} is there already: resume it, or name another file for a new run") from None
        return cls(path, descriptor)

    @classmethod
    def reopen(cls, path: Path) -> tuple[Self, Started, list[Record]]:
        """Open a file to go on with it; returns its first record and the others, too.

        Raises:
            ValueError: it can't be read, or another process writes it.
        """
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            raise ValueError(f"there is no transcript {path}") from None
        transcript = cls(path, descriptor)
        try:
            started, records = read_transcript(path)
            data = path.read_bytes()
            os.ftruncate(descriptor, data.rfind(b"\n") + 1)
            os.lseek(descriptor, 0, os.SEEK_END)
        except ValueError:
            transcript.close()
            raise
        return transcript, started, records

    def append(self, record: Record) -> None:
        """Write a record and wait until the disk has it."""
        data = (record_to_line(record) + "\n").encode()
        while data:
            data = data[os.write(self._descriptor, data) :]
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        """Close it at the end of the context."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()


def read_transcript(path: Path) -> tuple[Started, list[Record]]:
    """Read a transcript: its first record and the others; a last line that was cut off is left out.

    Raises:
        ValueError: there is no such file, or a line is no record; the message names the line.
    """
    if not path.is_file():
        raise ValueError(f"there is no transcript {path}")
    records = list(_records(path))
    if not records or not isinstance(records[0], Started):
        raise ValueError(f"{path} is no transcript of an agent: it does not begin with a `started` record")
    return records[0], records[1:]


def _records(path: Path) -> Iterator[Record]:
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):  # what follows the last one was cut off
        try:
            yield record_from_line(line.decode())
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
