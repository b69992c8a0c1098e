"""What a running job uses, measured from outside, and the first limit that it exceeds.

The kernel bounds each process by itself. What it doesn't bound without a control group is the sum: a program that
forks gets each process's share again. So the tree of processes is walked ten times a second.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from fulmen.tools.sandbox.control_group import ControlGroup
from fulmen.tools.sandbox.limits import Limit, SandboxLimits

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
# bubblewrap's first process, which belongs to the sandbox and not to the program.
EXTRA_PROCESSES = 1
CHILDREN_ARE_LISTED = Path("/proc/self/task", str(os.getpid()), "children").exists()
"""Whether this kernel tells a process's children (CONFIG_PROC_CHILDREN)."""


@dataclass(slots=True)
class TreeUsage:
    """Sums over the processes that are alive; CPU time includes their dead children."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    """Anonymous memory; pages that a fork shares count for both."""
    processes: int = 0
    """Threads included, as the kernel counts."""


def tree_usage(first: int) -> TreeUsage:
    """Usage of the process `first` and all that descend from it."""
    usage, pending = TreeUsage(), [first]
    while pending:
        folder = Path("/proc", str(pending.pop()))
        try:
            stat = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            resident, shared = (int(pages) for pages in (folder / "statm").read_bytes().split()[1:3])
            for thread in os.listdir(folder / "task"):
                children = (folder / "task" / thread / "children").read_bytes()
                pending += [int(child) for child in children.split()]
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
        usage.cpu_seconds += sum(int(ticks) for ticks in stat[11:15]) / TICKS
        usage.processes += int(stat[17])
        usage.memory_bytes += max(0, resident - shared) * PAGE
    return usage


class UsageWatch:
    """Compares what a job uses with its limits."""

    def __init__(self, first: int, group: ControlGroup | None, disk: list[int], limits: SandboxLimits) -> None:
        """Watch the job whose first process is `first`, in `group` if it has one.

        `disk` are descriptors of the file systems that it can write to.
        """
        self._first, self._group, self._disk, self._limits = first, group, disk, limits
        self.cpu_seconds = 0.0
        """As last measured."""

    def exceeded(self) -> Limit | None:
        """The limit that is exceeded now."""
        for folder in self._disk:
            inodes = os.fstatvfs(folder)
            if inodes.f_files - inodes.f_ffree > self._limits.files:
                return Limit.FILES
        if self._group is not None:
            self.cpu_seconds = self._group.cpu_seconds()
            if self._group.ran_out_of_memory():
                return Limit.MEMORY
        else:
            usage = tree_usage(self._first)
            self.cpu_seconds = max(self.cpu_seconds, usage.cpu_seconds)
            if usage.memory_bytes > self._limits.memory_bytes:
                return Limit.MEMORY
            if usage.processes > self._limits.processes + EXTRA_PROCESSES:
                return Limit.PROCESSES
        return Limit.CPU if self.cpu_seconds >= self._limits.cpu_seconds else None
