"""What a sandboxed job may use, and the names of the limits that can end it."""

from dataclasses import dataclass, fields
from enum import StrEnum

MIB = 1 << 20


class Limit(StrEnum):
    """A limit that ended a job; the value is how it is called in messages."""

    WALL = "wall time"
    CPU = "CPU time"
    MEMORY = "memory"
    PROCESSES = "number of processes"
    FILE_SIZE = "size of a file"
    FILES = "number of files"
    OUTPUT = "output"


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxLimits:
    """What one job may use, all of its processes together unless said otherwise."""

    wall_seconds: float = 30.0
    """From the program's start to its end."""
    cpu_seconds: float = 20.0
    """CPU time; each single process also gets SIGXCPU from the kernel when it has used this much."""
    memory_bytes: int = 1024 * MIB
    """Anonymous memory; also the address space of each single process, so that most programs see a MemoryError."""
    processes: int = 64
    """Processes and threads at one time; more can't be started."""
    open_files: int = 256
    """Open files of each process."""
    file_bytes: int = 16 * MIB
    """Size of each single file."""
    disk_bytes: int = 64 * MIB
    """All files in /tmp, the working folder included. They lie in memory."""
    files: int = 10_000
    """Files, folders and links in /tmp."""
    output_bytes: int = 64 * 1024
    """What is kept of stdout and of stderr, each: the first half and the last."""
    flood_bytes: int = 64 * MIB
    """A program that writes more than this to stdout and stderr is ended."""
    returned_bytes: int = 16 * MIB
    """All files that are read back."""

    def __post_init__(self) -> None:
        """Refuse what would mean no limit, or no program at all.

        Raises:
            ValueError: a value is not positive, with its name.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < float("inf"):
                raise ValueError(f"{field.name} is {value}; it must be a positive number")
