"""Runs every attack at once, 64 jobs in all, and watches the host meanwhile; as root or as an ordinary user.

`python sandbox_suite.py --user 65534` imports what it needs, becomes that user, runs the suite and prints a JSON
object: name of a job -> what was wrong with it ("" if nothing).
"""

import argparse
import asyncio
import concurrent.futures.thread  # asyncio imports it when it is too late for another user  # noqa: F401
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pyseccomp
from sandbox_attacks import ATTACKS, HONEST, WORDS, Attack

from fulmen.tools.sandbox import SandboxLimits, SandboxResult, run_python

NUM_JOBS = 64
MIB = 1 << 20
LIMITS = {
    "wall_seconds": 600.0,  # for a busy machine; those that sleep have their own
    "cpu_seconds": 2.0,
    "memory_bytes": 256 * MIB,
    "processes": 32,
    "file_bytes": MIB,
    "disk_bytes": 8 * MIB,
    "files": 1000,
    "output_bytes": 20_000,
    "flood_bytes": 4 * MIB,
    "returned_bytes": 4 * MIB,
}
FORBIDDEN = """
mount umount2 pivot_root chroot unshare setns ptrace process_vm_readv process_vm_writev keyctl add_key request_key bpf
io_uring_setup perf_event_open userfaultfd memfd_create shmget msgget semget mq_open init_module finit_module
kexec_load reboot swapon acct settimeofday clock_settime adjtimex open_by_handle_at name_to_handle_at fanotify_init
personality syslog quotactl iopl ioperm clone3 fsopen open_tree move_mount kcmp pidfd_getfd setxattr sync vmsplice
"""


@dataclass
class Host:
    """What the attackers are after, and what shows whether they got it."""

    token: str = field(default_factory=lambda: secrets.token_hex(16))
    connections: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fulmen-hostile-"))
        self.folder.chmod(0o777)
        self.secret = self.folder / "secret"
        self.secret.write_text(self.token)
        self.secret.chmod(0o666)
        os.environ["FULMEN_TEST_SECRET"] = self.token
        self.servers = [
            socket.create_server(("127.0.0.1", 0)),
            self._listening("\0fulmen-" + self.token),
            self._listening(str(self.folder / "socket")),
        ]
        for server in self.servers:
            threading.Thread(target=self._accept, args=[server], daemon=True).start()

    def _listening(self, address: str) -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        server.bind(address)
        server.listen()
        return server

    def _accept(self, server: socket.socket) -> None:
        try:
            while True:
                with server.accept()[0]:
                    self.connections.append(str(server.getsockname()))
        except OSError:  # closed
            return

    def described(self) -> dict[str, object]:
        """What an attacker is told."""
        number = {n: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, n) for n in [*FORBIDDEN.split(), "clone"]}
        return {
            "token": self.token,
            "port": self.servers[0].getsockname()[1],
            "abstract": "fulmen-" + self.token,
            "socket": str(self.folder / "socket"),
            "secret_file": str(self.secret),
            "outside": str(self.folder / "written"),
            "pid": os.getpid(),
            "clone": number.pop("clone"),
            "forbidden": {name: n for name, n in number.items() if n >= 0},
            **LIMITS,
        }

    def damage(self) -> str:
        """What an attack has done to the host; empty if nothing."""
        found = [f"connected to {name}" for name in self.connections]
        if sorted(path.name for path in self.folder.iterdir()) != ["secret", "socket"]:
            found.append("wrote outside")
        if self.secret.read_text() != self.token:
            found.append("changed a file of the host")
        return "; ".join(found + [f"process {pid} is left: {line}" for pid, line in processes_with(self.token)])

    def close(self) -> None:
        """Remove it all."""
        for server in self.servers:
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            server.close()
        shutil.rmtree(self.folder)
        del os.environ["FULMEN_TEST_SECRET"]


def processes_with(token: str) -> list[tuple[int, str]]:
    """Processes of the host that have `token` in their arguments."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace") if folder.name.isdigit() else ""
        except OSError:  # it has ended
            continue
        if token in line:
            found.append((int(folder.name), line))
    return found


def job_files(host: Host) -> dict[str, bytes]:
    """What every attacker finds in its working folder besides its program."""
    return {"host.json": json.dumps(host.described()).encode(), "attack.py": WORDS.encode()}


def wrong(attack: Attack, result: SandboxResult, host: Host) -> str:
    """What is wrong with the end of `attack`; empty if it ended as it must."""
    said = f"{result.ending()}: {result.stdout.text[:400]} {result.stderr.text[-800:]}"
    if "ESCAPED" in result.stdout.text:
        return f"escaped: {said}"
    if any(host.token.encode() in data for name, data in result.files.items() if name != "host.json"):
        return f"brought the secret out: {said}"
    if max(len(result.stdout.text), len(result.stderr.text)) > 3 * LIMITS["output_bytes"]:
        return "kept too much of its output"
    return "" if attack.expect(result) else f"unexpected: {said} {sorted(result.files)} {result.left_out}"


async def run_all() -> dict[str, str]:
    """All attacks and as many honest programs as make 64 jobs, at once."""
    host = Host()
    try:
        jobs = dict(ATTACKS)
        for i in range(NUM_JOBS - len(jobs)):
            repeated = list(ATTACKS)[i % len(ATTACKS)]
            jobs[f"{repeated}, again {i}" if i % 2 else f"honest {i}"] = ATTACKS[repeated] if i % 2 else HONEST
        assert len(jobs) == NUM_JOBS
        files = job_files(host)

        async def run(attack: Attack) -> str:
            limits = SandboxLimits(**{**LIMITS, **attack.limits})
            source = "from attack import *\n" + attack.source
            outcome = await run_python(source, files=files, collect=attack.collect, limits=limits)
            return wrong(attack, outcome.result, host)

        outcomes = await asyncio.gather(*map(run, jobs.values()), return_exceptions=True)
        found = {n: o if isinstance(o, str) else f"raised {o!r}" for n, o in zip(jobs, outcomes, strict=True)}
        return {**found, "the host": host.damage()}
    finally:
        host.close()


def main() -> None:
    """Become the user, run the suite, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--user", type=int, help="user and group id to become")
    user = parser.parse_args().user
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    json.dump(asyncio.run(run_all()), sys.stdout)


if __name__ == "__main__":
    main()
