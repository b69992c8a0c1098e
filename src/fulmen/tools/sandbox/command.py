"""The command line that puts a program into the sandbox: what is limited, what is visible, and in which order.

    sh        enters the control groups, asks the kernel to take this process first when memory runs out
    prlimit   limits for each process that comes after it
    bwrap     namespaces, mounts, no capabilities, the filter of system calls
    prlimit   the number of processes; counted per user, so it must come inside
    sh        says that all is in place, and waits for the word to go on
    setpriv   root only: becomes a user that nothing else belongs to
    program

Everything up to the program is run without an environment: the first process in the sandbox is bubblewrap's own, and
its initial environment can be read there.
"""

import math
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from fulmen.tools.sandbox.job import SandboxJob

INSTALL_HINT = "install bubblewrap (on Debian and Ubuntu: apt install bubblewrap)"
WORK = "/tmp/work"
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": WORK,
    "TMPDIR": "/tmp",
    "USER": "sandbox",
    "LANG": "C.UTF-8",
    # Numeric libraries would otherwise start a thread for each core, each with a large arena.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
READY = "ready"

# User ids that no distribution or service manager gives out: nothing on this machine belongs to them.
FIRST_USER_ID, NUM_USER_IDS = 1_900_000_000, 100_000_000
INNER_USER_ID = 1000
"""As whom the program sees itself when an ordinary user runs it."""
ETC = ["alternatives", "ld.so.cache", "ld.so.conf", "localtime"]
SHM_BYTES = 16 << 20

_ENTER = """
while [ "$1" != -- ]; do echo 0 > "$1" || exit 1; shift; done; shift
echo 1000 > /proc/self/oom_score_adj
exec "$@"
"""
_GATE = f"""
while read -r name value; do
  case $name in NoNewPrivs:|Seccomp:|Seccomp_filters:) echo "$name$value" ;; esac
done < /proc/self/status
echo {READY}
read -r go || exit 1
exec "$@"
"""


class SandboxUnavailable(Exception):
    """No sandbox can be had on this machine; the message says why, and what to do. Nothing was run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """As whom a job runs: as a user of its own, or as the caller within a user namespace."""

    own_user_id: int | None
    """A user id that only this job has; None without the privilege to become it."""

    @classmethod
    def choose(cls) -> "Identity":
        """A fresh user id for root of the whole machine; the caller's own for everyone else."""
        if os.geteuid() != 0 or not _maps_every_user():
            return cls(own_user_id=None)
        return cls(own_user_id=FIRST_USER_ID + secrets.randbelow(NUM_USER_IDS))


def _maps_every_user() -> bool:
    """False for the root of a container that knows only some user ids."""
    for line in Path("/proc/self/uid_map").read_text(encoding="utf-8").splitlines():
        first, _, count = map(int, line.split())
        if first <= FIRST_USER_ID and first + count >= FIRST_USER_ID + NUM_USER_IDS:
            return True
    return False


def expected_proof() -> dict[str, str]:
    """What /proc/self/status must say just before the program starts: no privileges by exec, and our filter in force.

    A container may have put a filter on this process already, so ours must be one more (kernels from 5.9 on count).
    """
    proof = {"NoNewPrivs": "1", "Seccomp": "2"}
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "Seccomp_filters":
            proof[name] = str(int(value) + 1)
    return proof


def _found(name: str, hint: str) -> str:
    path = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    if path is None:
        raise SandboxUnavailable(f"{name} is missing, and untrusted code never runs without the sandbox: {hint}")
    return path


def command_line(
    job: SandboxJob, identity: Identity, *, group_entries: list[Path], filter_fd: int, info_fd: int
) -> list[str]:
    """The whole command of a job.

    `group_entries` are the files by which a process enters the job's control groups; bubblewrap reads the filter from
    `filter_fd` and writes the id of its first process to `info_fd`. Raises SandboxUnavailable if a program is missing.
    """
    limits = job.limits
    bwrap = _found("bwrap", INSTALL_HINT)
    prlimit = _found("prlimit", "install util-linux")
    cpu = math.ceil(limits.cpu_seconds)
    command = ["/bin/sh", "-c", _ENTER, "sh", *map(str, group_entries), "--"]
    command += [prlimit, f"--cpu={cpu}:{cpu + 1}", f"--as={limits.memory_bytes}", f"--fsize={limits.file_bytes}"]
    command += [f"--nofile={limits.open_files}", "--core=0", "--rtprio=0", "--"]
    command += [bwrap, *_isolation(identity), *_mounts(job)]
    command += ["--seccomp", str(filter_fd), "--info-fd", str(info_fd), "--chdir", WORK, "--"]
    command += [prlimit, f"--nproc={limits.processes}", "--", "/bin/sh", "-c", _GATE, "sh"]
    if identity.own_user_id is not None:
        setpriv, user = _found("setpriv", "install util-linux"), identity.own_user_id
        command += [setpriv, f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all", "--"]
    return [*command, *job.command]


def _isolation(identity: Identity) -> list[str]:
    arguments = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--hostname", "sandbox", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if identity.own_user_id is None:
        arguments += ["--unshare-user", "--uid", str(INNER_USER_ID), "--gid", str(INNER_USER_ID)]
    else:  # no user namespace: the program becomes its own user instead, which takes these two until it does
        arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    arguments.append("--clearenv")
    for name, value in ENVIRONMENT.items():
        arguments += ["--setenv", name, value]
    return arguments


def _mounts(job: SandboxJob) -> list[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        folder = Path("/", name)
        if folder.is_symlink():
            arguments += ["--symlink", os.readlink(folder), str(folder)]
        elif folder.is_dir():
            arguments += ["--ro-bind", str(folder), str(folder)]
    arguments += _folders([Path("/etc", name) for name in ETC])
    for name in ETC:
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    # Whatever can be written lies in a tmpfs of a given size. The others, the root and /dev, are sealed when complete.
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    arguments += ["--perms", "1777", "--size", str(SHM_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    arguments += ["--perms", "1777", "--size", str(job.limits.disk_bytes), "--tmpfs", "/tmp", "--dir", WORK]
    arguments += _folders(list(job.readable))  # after /tmp, which would cover those below it
    for folder in job.readable:
        arguments += ["--ro-bind", str(folder), str(folder)]
    return [*arguments, "--remount-ro", "/"]


def _folders(places: list[Path]) -> list[str]:
    """Make the folders above `places`, for everyone to enter: bubblewrap by itself would make them for their owner."""
    above = {parent for place in places for parent in place.parents} - {Path("/")}
    return [word for folder in sorted(above) for word in ("--perms", "0755", "--dir", str(folder))]
