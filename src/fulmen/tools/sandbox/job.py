"""What goes into the sandbox and what comes out of it."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fulmen.tools.sandbox.limits import Limit, SandboxLimits
from fulmen.tools.sandbox.workspace import check_path


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxJob:
    """One untrusted program.

    Example:
        SandboxJob(command=["wc", "-c", "data.txt"], files={"data.txt": b"four"})
    """

    command: Sequence[str]
    """Program and arguments; the program is found in /usr/local/bin, /usr/bin or /bin unless it is a path."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Relative path in the working folder -> contents, there before the program starts."""
    stdin: bytes = b""
    collect: Sequence[str] = ()
    """Relative paths of files and folders to read back; "." is the whole working folder."""
    readable: Sequence[Path] = ()
    """More folders of the host that the program can read, at the same place, besides /usr."""
    limits: SandboxLimits = field(default_factory=SandboxLimits)

    def __post_init__(self) -> None:
        """Refuse what could never run.

        Raises:
            ValueError: no command, a NUL byte in it, a path that leads out of the working folder, or a folder to be
                read that is not absolute or is not there.
        """
        if isinstance(self.command, str) or not self.command or not all(isinstance(a, str) for a in self.command):
            raise ValueError(f"command is {self.command!r}; it must be a list of strings, the program first")
        if any("\0" in argument for argument in self.command):
            raise ValueError("the command has a NUL byte in it")
        for path in [*self.files, *(path for path in self.collect if path != ".")]:
            check_path(path)
        for folder in self.readable:
            if not folder.is_absolute() or folder == Path("/") or not folder.is_dir():
                raise ValueError(f"{folder} can't be made readable: it must be the absolute path of a folder below /")


@dataclass(frozen=True, kw_only=True, slots=True)
class CapturedOutput:
    """What a program wrote to one stream: all of it, or its beginning and its end."""

    head: bytes
    tail: bytes = b""
    dropped: int = 0
    """Bytes between head and tail that were not kept."""

    @property
    def text(self) -> str:
        """As UTF-8, broken bytes replaced, with a note where something was dropped."""
        if not self.dropped:
            return (self.head + self.tail).decode(errors="replace")
        note = f"\n[... {self.dropped:,} bytes left out ...]\n"
        return self.head.decode(errors="replace") + note + self.tail.decode(errors="replace")


class OutputCollector:
    """Keeps the first and the last half of `limit` bytes of a stream."""

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` bytes."""
        self._head_room = limit - limit // 2
        self._tail_room = limit // 2
        self._head, self._tail = bytearray(), bytearray()
        self.total = 0

    def add(self, piece: bytes) -> None:
        """Take the next bytes of the stream."""
        self.total += len(piece)
        kept = piece[: self._head_room - len(self._head)]
        self._head += kept
        self._tail += piece[len(kept) :]
        del self._tail[: max(0, len(self._tail) - self._tail_room)]

    def captured(self) -> CapturedOutput:
        """What was kept so far."""
        dropped = self.total - len(self._head) - len(self._tail)
        return CapturedOutput(head=bytes(self._head), tail=bytes(self._tail), dropped=dropped)


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxResult:
    """How a job ended."""

    exit_code: int | None
    """None if a signal ended it. As in a shell, a code of 128 + n counts as signal n."""
    signal: int | None
    ended_by: Limit | None
    """The limit that ended the job; None if it ended by itself."""
    stdout: CapturedOutput
    stderr: CapturedOutput
    seconds: float
    """Wall time of the program, without the launch."""
    files: Mapping[str, bytes]
    """Relative path -> contents, of what was to be collected."""
    left_out: Mapping[str, str]
    """Relative path -> why it was not read back."""

    @property
    def succeeded(self) -> bool:
        """Whether the program ended by itself with exit code 0."""
        return self.exit_code == 0 and self.ended_by is None

    def ending(self) -> str:
        """How it ended, for people and models: "exit code 1", "signal SIGSEGV", "stopped at the limit on memory"."""
        if self.ended_by is not None:
            return f"stopped at the limit on {self.ended_by}"
        if self.signal is not None:
            known = self.signal in set(signal.Signals)
            return f"signal {signal.Signals(self.signal).name if known else self.signal}"
        return f"exit code {self.exit_code}"
