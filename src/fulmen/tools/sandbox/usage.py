"""What a running job uses, measured from outside, and the first limit that it exceeds.

The kernel bounds each process by itself. What it doesn't bound without a control group is the sum: a program that
forks gets each process's share again. So the tree of processes is walked ten times a second.

A process's CPU time goes to its parent when the parent waits for it. A parent that ignores the end of its children
(SIGCHLD) lets the kernel forget their time; `HiddenTime` makes up for it.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fulmen.tools.sandbox.control_group import ControlGroup
from fulmen.tools.sandbox.limits import Limit, SandboxLimits

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
# bubblewrap's first process, which belongs to the sandbox and not to the program.
EXTRA_PROCESSES = 1
CHILDREN_ARE_LISTED = Path("/proc/self/task", str(os.getpid()), "children").exists()
"""Whether this kernel tells a process's children (CONFIG_PROC_CHILDREN)."""


_MOST_CREDIT = 0.5
"""Seconds by which what was waited for may be ahead, so that honest children don't count twice for rounding."""
Key = tuple[int, int]
"""A process: its id, which is used again, and when it started, in ticks."""


@dataclass(frozen=True, slots=True)
class ProcessTime:
    """CPU time of a process, in seconds."""

    own: float
    children: float
    """Of the children that it has waited for."""
    running: float
    """How many of its threads were computing when it was looked at, each by the share of a core that it has got."""


@dataclass(slots=True)
class TreeUsage:
    """Sums over the processes that are alive; CPU time includes the children that they have waited for."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    """Anonymous memory; pages that a fork shares count for both."""
    processes: int = 0
    """Threads included, as the kernel counts."""
    times: dict[Key, ProcessTime] = field(default_factory=dict)


def tree_usage(first: int) -> TreeUsage:
    """Usage of the process `first` and all that descend from it."""
    usage, pending = TreeUsage(), [first]
    while pending:
        pid = pending.pop()
        folder = Path("/proc", str(pid))
        try:
            stat = _stat(folder)
            resident, shared = (int(pages) for pages in (folder / "statm").read_bytes().split()[1:3])
            threads = list((folder / "task").iterdir())
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
        running = 0.0
        for thread in threads:
            with suppress(FileNotFoundError, ProcessLookupError):
                pending += [int(child) for child in (thread / "children").read_bytes().split()]
                running += _share_of_a_core(thread)
        user, system, children_user, children_system = (int(ticks) / TICKS for ticks in stat[11:15])
        process_time = ProcessTime(user + system, children_user + children_system, running)
        usage.times[pid, int(stat[19])] = process_time
        usage.cpu_seconds += process_time.own + process_time.children
        usage.processes += int(stat[17])
        usage.memory_bytes += max(0, resident - shared) * PAGE
    return usage


def _stat(folder: Path) -> list[bytes]:
    """The fields of /proc/PID/stat, or a thread's, from the state on."""
    return (folder / "stat").read_bytes().rpartition(b")")[2].split()


def _share_of_a_core(thread: Path) -> float:
    """0 for a thread that has nothing to do, 1 for one that never had to wait for a core."""
    if _stat(thread)[0] != b"R":
        return 0.0
    try:
        ran, waited = (int(nanoseconds) for nanoseconds in (thread / "schedstat").read_bytes().split()[:2])
    except FileNotFoundError:  # a kernel without CONFIG_SCHED_INFO, or it has ended
        return 1.0
    return ran / (ran + waited) if ran + waited else 1.0


class HiddenTime:
    """Estimates the CPU time of processes that nobody waited for, which the kernel adds to no other's.

    A process that is gone had used what was last seen of it and, if it was running then, half the time since: it may
    have gone at once or only now, and so may those that came and went meanwhile. What survivors got by waiting for
    children is not hidden. A program that hides all it can so gets away with about half of what it uses.
    """

    def __init__(self) -> None:
        """Nothing has been seen yet."""
        self.seconds = 0.0
        self._balance = 0.0
        self._owed = 0.0  # of the balance, what a parent may have waited for after we had looked at it
        self._seen: dict[Key, ProcessTime] = {}
        self._when = time.monotonic()
        self._most_running = len(os.sched_getaffinity(0))

    def look(self, times: dict[Key, ProcessTime]) -> None:
        """Take the processes that are alive now."""
        now = time.monotonic()
        missing = {key: seen for key, seen in self._seen.items() if key not in times}
        moved = {key: seen for key, seen in missing.items() if _is_alive(key)}  # to another parent, as we looked
        gone = [seen for key, seen in missing.items() if key not in moved]
        running = min(sum(seen.running for seen in gone), self._most_running)
        used = sum(seen.own + seen.children for seen in gone) + running * (now - self._when) / 2
        nothing = ProcessTime(0.0, 0.0, running=0.0)
        waited_for = sum(seen.children - self._seen.get(key, nothing).children for key, seen in times.items())
        self._balance = max(-_MOST_CREDIT, self._balance + used - waited_for)
        due = max(0.0, min(self._owed, self._balance))
        self.seconds += due
        self._balance -= due
        self._owed = self._balance
        self._seen, self._when = {**times, **moved}, now


def _is_alive(key: Key) -> bool:
    pid, started = key
    try:
        return int(_stat(Path("/proc", str(pid)))[19]) == started
    except (FileNotFoundError, ProcessLookupError):
        return False


class UsageWatch:
    """Compares what a job uses with its limits."""

    def __init__(self, first: int, group: ControlGroup | None, disk: list[int], limits: SandboxLimits) -> None:
        """Watch the job whose first process is `first`, in `group` if it has one.

        `disk` are descriptors of the file systems that it can write to.
        """
        self._first, self._group, self._disk, self._limits = first, group, disk, limits
        self._hidden = HiddenTime()
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
            self._hidden.look(usage.times)
            self.cpu_seconds = max(self.cpu_seconds, usage.cpu_seconds + self._hidden.seconds)
            if usage.memory_bytes > self._limits.memory_bytes:
                return Limit.MEMORY
            if usage.processes > self._limits.processes + EXTRA_PROCESSES:
                return Limit.PROCESSES
        return Limit.CPU if self.cpu_seconds >= self._limits.cpu_seconds else None
