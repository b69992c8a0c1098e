"""One sandbox while it lives: launched, proven, fed, watched, ended.

    launch --> "ready" --> files in, "go" --> pump outputs, watch usage --> exit, or a limit --> kill --> files out
                  |
                  +-- what the process itself sees of its isolation; anything else than expected, and nothing runs

Whatever happens, cancellation included, the end is the same: the first process of the sandbox is killed, the kernel
kills all the others in its namespace, and only when they are gone does `closed` return.
"""

import asyncio
import contextlib
import errno
import json
import os
import random
import signal
import time
from types import TracebackType
from typing import Self

from fulmen.tools.sandbox import workspace
from fulmen.tools.sandbox.command import (
    INSTALL_HINT,
    READY,
    WORK,
    Identity,
    SandboxUnavailable,
    command_line,
    expected_proof,
)
from fulmen.tools.sandbox.control_group import create_control_group
from fulmen.tools.sandbox.job import OutputCollector, SandboxJob, SandboxResult
from fulmen.tools.sandbox.limits import Limit
from fulmen.tools.sandbox.system_calls import filter_descriptor
from fulmen.tools.sandbox.usage import CHILDREN_ARE_LISTED, UsageWatch

LAUNCH_SECONDS = 60.0
WATCH_SECONDS = 0.1
PIECE = 1 << 16
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class SandboxProcess:
    """A sandbox and the program in it. Used as `async with SandboxProcess(job) as process: await process.run()`."""

    def __init__(self, job: SandboxJob) -> None:
        """Take what the kernel grants for `job`; nothing runs yet."""
        self._job = job
        self._identity = Identity.choose()
        self._group = create_control_group(job.limits)
        self._descriptors = contextlib.ExitStack()
        self._outputs = [OutputCollector(job.limits.output_bytes) for _ in range(2)]
        self._ended_by: Limit | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._first_pid: int | None = None
        self._first: int | None = None  # a descriptor of it: process ids are used again, descriptors are not

    async def __aenter__(self) -> Self:
        """Launch the sandbox up to the point before the program starts.

        Raises:
            SandboxUnavailable: it can't be had on this machine, or isn't as it should be.
            ValueError: the job's files don't fit.
        """
        try:
            async with asyncio.timeout(LAUNCH_SECONDS):
                await self._launch()
        except TimeoutError as error:
            await self._closed()
            raise SandboxUnavailable(f"the sandbox was not ready within {LAUNCH_SECONDS:.0f} s") from error
        except BaseException:
            await self._closed()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill whatever is left of it and give everything back."""
        await self._closed()

    async def _launch(self) -> None:
        if self._group is None and not CHILDREN_ARE_LISTED:
            raise SandboxUnavailable(
                "memory can't be limited here: this user may not make control groups, and the kernel lists no children "
                "of processes (CONFIG_PROC_CHILDREN); run as root or with a delegated control group"
            )
        with contextlib.ExitStack() as ours:
            try:
                filter_fd = filter_descriptor()
            except OSError as error:
                raise SandboxUnavailable(f"system calls can't be filtered: {error}") from error
            ours.callback(os.close, filter_fd)
            info_fd, info_write = os.pipe()
            self._descriptors.callback(os.close, info_fd)
            ours.callback(os.close, info_write)
            entries = [] if self._group is None else self._group.entries
            command = command_line(
                self._job, self._identity, group_entries=entries, filter_fd=filter_fd, info_fd=info_write
            )
            pipe = asyncio.subprocess.PIPE
            starting = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *command, stdin=pipe, stdout=pipe, stderr=pipe, env={}, cwd="/", pass_fds=(filter_fd, info_write),
                    start_new_session=True, limit=PIECE,
                )
            )  # fmt: skip
            try:
                self._process = await asyncio.shield(starting)
            except asyncio.CancelledError:  # asyncio would kill the one process, and not what it has started
                self._process = await starting
                raise
        await self._prove(self._process)
        self._first_pid = await _first_process(info_fd)
        try:
            self._first = os.pidfd_open(self._first_pid)
            self._descriptors.callback(os.close, self._first)
            self._disk = [self._opened(f"/proc/{self._first_pid}/root{place}") for place in ("/tmp", "/dev/shm")]
            self._work = self._opened(f"/proc/{self._first_pid}/root{WORK}")
        except OSError as error:
            raise SandboxUnavailable(f"the sandbox can't be reached from outside: {error}") from error
        workspace.write_files(self._work, self._job.files, self._identity.own_user_id)

    def _opened(self, folder: str) -> int:
        descriptor = os.open(folder, _FOLDER)
        self._descriptors.callback(os.close, descriptor)
        return descriptor

    async def _prove(self, process: asyncio.subprocess.Process) -> None:
        """Read what the process that will become the program says of itself; raise unless it is isolated."""
        assert process.stdout is not None
        assert process.stderr is not None
        told = {}
        while line := (await process.stdout.readline()).decode(errors="replace"):
            if line.strip() == READY:
                break
            name, _, value = line.strip().partition(":")
            told[name] = value
        else:
            reason = (await process.stderr.read(PIECE)).decode(errors="replace").strip()
            raise SandboxUnavailable(
                f"bubblewrap could not make a sandbox: {reason or 'it gave no reason'}. It needs user namespaces "
                "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
                f"kernel.apparmor_restrict_unprivileged_userns) or root; {INSTALL_HINT} of version 0.8 or newer"
            )
        proof = expected_proof()
        if told != proof:
            raise SandboxUnavailable(f"the sandbox is not closed: its process has {told}, and should have {proof}")

    async def run(self) -> SandboxResult:
        """Start the program, wait for its end or a limit, and read back what was wanted."""
        process, job = self._process, self._job
        assert process is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert self._first_pid is not None
        started = time.monotonic()
        watch = UsageWatch(self._first_pid, self._group, self._disk, job.limits)
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(self._feed(process))
            for stream, output in zip([process.stdout, process.stderr], self._outputs, strict=True):
                group.create_task(self._pump(stream, output))
            watching = group.create_task(self._watch(watch, started))
            status = await process.wait()
            seconds = time.monotonic() - started
            watching.cancel()
            feeding.cancel()
        await self._dead()
        ended_by = self._ended_by or self._limit_by_kernel(status, watch)
        collected = workspace.read_files(self._work, job.collect, job.limits.returned_bytes)
        number = -status if status < 0 else status - 128 if status > 128 else None
        return SandboxResult(
            exit_code=status if number is None else None,
            signal=number,
            ended_by=ended_by,
            stdout=self._outputs[0].captured(),
            stderr=self._outputs[1].captured(),
            seconds=seconds,
            files=collected.files,
            left_out=collected.left_out,
        )

    def _limit_by_kernel(self, status: int, watch: UsageWatch) -> Limit | None:
        """The limit behind a signal that the kernel sent."""
        if self._group is not None and self._group.ran_out_of_memory():
            return Limit.MEMORY
        if self._group is not None:
            watch.cpu_seconds = self._group.cpu_seconds()
        by_signal = {128 + signal.SIGXCPU: Limit.CPU, 128 + signal.SIGXFSZ: Limit.FILE_SIZE}
        if status == 128 + signal.SIGKILL and watch.cpu_seconds >= self._job.limits.cpu_seconds:
            return Limit.CPU
        return by_signal.get(status)

    async def _feed(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the program need not read
            process.stdin.write(b"go\n" + self._job.stdin)
            await process.stdin.drain()
        process.stdin.close()

    async def _pump(self, stream: asyncio.StreamReader, output: OutputCollector) -> None:
        while piece := await stream.read(PIECE):
            output.add(piece)
            if sum(each.total for each in self._outputs) > self._job.limits.flood_bytes:
                self._end(Limit.OUTPUT)

    async def _watch(self, watch: UsageWatch, started: float) -> None:
        while self._ended_by is None:
            left = started + self._job.limits.wall_seconds - time.monotonic()
            limit = Limit.WALL if left <= 0 else watch.exceeded()
            if limit is not None:
                self._end(limit)
            else:
                # At moments that a program can't foresee, or it would hide between them.
                await asyncio.sleep(min(WATCH_SECONDS * random.uniform(0.5, 1.5), left))

    def _end(self, limit: Limit) -> None:
        """End the job for exceeding `limit`; the first limit counts."""
        self._ended_by = self._ended_by or limit
        self._kill()

    def _kill(self) -> None:
        """Kill the sandbox: by its first process, and by the process group of the launch while that is all there is."""
        if self._first is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _dead(self) -> None:
        """Kill it and wait until no process of it is left: the first one can't end before all others have."""
        self._kill()
        if self._process is not None:
            process = self._process
            assert process.stdin is not None
            process.stdin.close()
            # What is unread would keep the pipes open: at most what a pipe and a stream's buffer hold.
            unread = [stream.read() for stream in (process.stdout, process.stderr) if stream is not None]
            await asyncio.gather(process.wait(), *unread)
        if self._first is not None:
            gone, loop = asyncio.Event(), asyncio.get_running_loop()
            loop.add_reader(self._first, gone.set)
            try:
                await gone.wait()
            finally:
                loop.remove_reader(self._first)

    async def _closed(self) -> None:
        """`_dead`, and all descriptors and the control group given back; not to be interrupted by a cancellation."""
        self._kill()
        closing = asyncio.ensure_future(self._give_back())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise

    async def _give_back(self) -> None:
        try:
            await self._dead()
        finally:
            self._descriptors.close()
            if self._group is not None:
                await asyncio.to_thread(self._group.remove)


async def _first_process(info_fd: int) -> int:
    """The id of the sandbox's first process, which bubblewrap writes to `info_fd` as JSON."""
    os.set_blocking(info_fd, False)
    told = b""
    while not told.rstrip().endswith(b"}"):
        try:
            piece = os.read(info_fd, PIECE)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            await asyncio.sleep(0.001)
            continue
        if not piece:
            raise SandboxUnavailable("bubblewrap ended before it said which process it had started")
        told += piece
    return int(json.loads(told)["child-pid"])
