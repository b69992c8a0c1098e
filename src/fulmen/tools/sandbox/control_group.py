"""A control group of its own for each job, where the kernel lets us make one: hard limits on memory and processes.

Root has them on nearly every machine, an ordinary user where a service manager has delegated some (version 2). Without
one, `usage` measures the processes instead. Version 1 has a tree for each resource, version 2 one for all.
"""

import contextlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from fulmen.tools.sandbox.limits import SandboxLimits

# The launch itself: bubblewrap outside and inside, and page tables and buffers of the kernel.
EXTRA_PROCESSES = 4
EXTRA_BYTES = 32 << 20
REMOVAL_SECONDS = 5.0
PREFIX = "fulmen-sandbox-"


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlGroup:
    """The folders of one job's group; they are one and the same in version 2."""

    memory: Path
    pids: Path
    cpu: Path
    version: int

    @property
    def entries(self) -> list[Path]:
        """The files to which a process writes 0 to enter."""
        return [folder / "cgroup.procs" for folder in dict.fromkeys([self.memory, self.pids, self.cpu])]

    def cpu_seconds(self) -> float:
        """CPU time of all processes that are or were in it."""
        if self.version == 1:
            return int((self.cpu / "cpuacct.usage").read_text()) / 1e9
        return _value(self.cpu / "cpu.stat", "usage_usec") / 1e6

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process of it for want of memory."""
        return _value(self.memory / ("memory.oom_control" if self.version == 1 else "memory.events"), "oom_kill") > 0

    def remove(self) -> None:
        """Remove it; its processes are dead, but the kernel may still be tidying up after them."""
        give_up = time.monotonic() + REMOVAL_SECONDS
        for folder in dict.fromkeys([self.memory, self.pids, self.cpu]):
            while True:
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > give_up:
                        raise
                    time.sleep(0.005)


def _value(file: Path, key: str) -> int:
    """The number behind `key` in a file of "key number" lines; 0 if an old kernel doesn't have it."""
    for line in file.read_text(encoding="utf-8").splitlines():
        name, _, number = line.partition(" ")
        if name == key:
            return int(number)
    return 0


def create_control_group(limits: SandboxLimits, *, system: Path = Path("/")) -> ControlGroup | None:
    """A new group below this process's own (version 1) or beside it (version 2), or None where that isn't permitted.

    `system` is the root of the file system in which /proc and the hierarchies are looked up.
    """
    mounts = _hierarchies(system)
    name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
    if all(controller in mounts for controller in ("memory", "pids", "cpuacct")):
        return _create_v1(limits, {c: mounts[c] / name for c in ("memory", "pids", "cpuacct")})
    return _create_v2(limits, mounts[""], name) if "" in mounts else None


def _hierarchies(system: Path) -> dict[str, Path]:
    """Controller -> the folder of this process's own group; the key of version 2 is ""."""
    own: dict[str, str] = {}
    if not (system / "proc/self/cgroup").exists():
        return {}  # a kernel without control groups
    for line in (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    found = {}
    for line in (system / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, filesystem = line.partition(" - ")
        kind, _, options = filesystem.split(" ", 2)
        root, mount = fields.split()[3:5]
        mounted = {"cgroup": options.split(" ")[-1].split(","), "cgroup2": [""]}.get(kind, [])
        for controller in mounted:
            if controller in own:
                # In a container the mount may show only a part of the tree, and the path count from the whole.
                inner = own[controller].removeprefix(root.rstrip("/"))
                found[controller] = system / mount.lstrip("/") / inner.lstrip("/")
    return found


def _sweep(folder: Path) -> None:
    """Remove the empty groups of processes that were killed before they could."""
    for left in folder.glob(f"{PREFIX}*"):
        maker = left.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", maker).exists():
            with contextlib.suppress(OSError):  # not empty yet, or another process was faster
                left.rmdir()


def _create_v1(limits: SandboxLimits, folders: dict[str, Path]) -> ControlGroup | None:
    group = ControlGroup(memory=folders["memory"], pids=folders["pids"], cpu=folders["cpuacct"], version=1)
    try:
        for folder in dict.fromkeys(folders.values()):
            _sweep(folder.parent)
            folder.mkdir()
        most = str(limits.memory_bytes + limits.disk_bytes + EXTRA_BYTES)
        (group.memory / "memory.limit_in_bytes").write_text(most)
        with_swap = group.memory / "memory.memsw.limit_in_bytes"
        if with_swap.exists():  # only where the kernel counts swap
            with_swap.write_text(most)
        (group.pids / "pids.max").write_text(str(limits.processes + EXTRA_PROCESSES))
    except OSError:
        group.remove()
        return None
    return group


def _create_v2(limits: SandboxLimits, own: Path, name: str) -> ControlGroup | None:
    """Beside the own group or further up: a group that has processes can't have limited children."""
    for parent in [own, *own.parents]:
        switches = parent / "cgroup.subtree_control"
        if not switches.exists():
            return None
        if not {"memory", "pids"} <= set(switches.read_text(encoding="utf-8").split()):
            continue
        group = ControlGroup(memory=parent / name, pids=parent / name, cpu=parent / name, version=2)
        try:
            _sweep(parent)
            group.memory.mkdir()
            (group.memory / "memory.max").write_text(str(limits.memory_bytes + limits.disk_bytes + EXTRA_BYTES))
            (group.memory / "memory.oom.group").write_text("1")
            with_swap = group.memory / "memory.swap.max"
            if with_swap.exists():
                with_swap.write_text("0")
            (group.pids / "pids.max").write_text(str(limits.processes + EXTRA_PROCESSES))
            if not os.access(parent / "cgroup.procs", os.W_OK):  # entering takes leave of the common ancestor
                raise PermissionError(parent)
        except OSError:
            group.remove()
            continue
        return group
    return None
