"""The sandbox as its callers see it: outputs, endings, files, cancellation, and refusal instead of less isolation."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox_suite import processes_with

from fulmen.tools.sandbox import (
    Limit,
    SandboxJob,
    SandboxLimits,
    SandboxResult,
    SandboxUnavailable,
    command,
    process,
    run_sandboxed,
    run_sandboxed_blocking,
)
from fulmen.tools.sandbox.control_group import create_control_group

MIB = 1 << 20


def shell(script: str, **options: object) -> SandboxResult:
    """The result of a shell script."""
    return run_sandboxed_blocking(SandboxJob(command=["sh", "-c", script], **options))


@pytest.mark.usefixtures("sandbox")
class TestResults:
    """What comes back."""

    def test_outputs_exit_code_and_stdin(self) -> None:
        result = shell("cat; echo wrong >&2; exit 3", stdin=b"given\n")
        assert (result.stdout.text, result.stderr.text) == ("given\n", "wrong\n")
        assert (result.exit_code, result.signal, result.ended_by) == (3, None, None)
        assert not result.succeeded
        assert result.ending() == "exit code 3"

    def test_a_signal_is_named(self) -> None:
        result = shell("kill -SEGV $$")
        assert (result.exit_code, result.signal) == (None, 11)
        assert result.ending() == "signal SIGSEGV"

    def test_a_large_input_that_nobody_reads_is_no_hindrance(self) -> None:
        assert shell("exec true", stdin=bytes(4 * MIB)).succeeded

    def test_large_input_and_output_at_once(self) -> None:
        limits = SandboxLimits(output_bytes=8 * MIB)
        data = os.urandom(2 * MIB)
        assert shell("exec cat", stdin=data, limits=limits).stdout.head == data[: 4 * MIB]

    def test_long_output_keeps_its_beginning_and_its_end(self) -> None:
        result = shell("echo first; seq 100000; echo last", limits=SandboxLimits(output_bytes=1000))
        text = result.stdout.text
        assert text.startswith("first\n1\n2\n")
        assert text.endswith("100000\nlast\n")
        assert f"[... {result.stdout.dropped:,} bytes left out ...]" in text
        assert len(result.stdout.head) + len(result.stdout.tail) == 1000

    def test_output_that_is_no_text(self) -> None:
        assert shell(r"printf '\377\376ok'").stdout.text == "\ufffd\ufffdok"

    def test_files_in_and_out(self) -> None:
        files = {"data/in.txt": b"one\n", "keep": bytes(range(256))}
        script = "cat data/in.txt data/in.txt > data/out.txt; mkdir empty; rm keep; pwd"
        result = shell(script, files=files, collect=["data", "keep", "empty", "absent/file"])
        assert result.stdout.text == "/tmp/work\n"
        assert result.files == {"data/in.txt": b"one\n", "data/out.txt": b"one\none\n"}
        assert set(result.left_out) == {"keep", "absent"}

    def test_files_are_read_back_from_a_program_that_was_ended(self) -> None:
        limits = SandboxLimits(wall_seconds=2)
        result = shell("echo so far > found; sleep 1000", collect=["found"], limits=limits)
        assert result.ended_by is Limit.WALL
        assert result.files == {"found": b"so far\n"}

    def test_a_missing_program_is_an_exit_code(self) -> None:
        result = run_sandboxed_blocking(SandboxJob(command=["no-such-program"]))
        assert result.exit_code == 127
        assert "no-such-program" in result.stderr.text

    def test_a_folder_that_was_made_readable(self, tmp_path: Path) -> None:
        tmp_path.joinpath("data").write_text("shared")
        tmp_path.joinpath("data").chmod(0o644)
        tmp_path.chmod(0o755)
        script = f"cat {tmp_path}/data; echo x > {tmp_path}/data || echo refused"
        assert shell(script, readable=[tmp_path]).stdout.text == "sharedrefused\n"

    def test_everyday_system_calls_work(self) -> None:
        script = "sort -R /usr/bin/env | head -c 1 >/dev/null; ls -l /tmp | wc -l; (sleep 0 & wait); nproc >/dev/null"
        assert shell(script + "; tar cf a.tar /usr/bin/env 2>/dev/null && echo packed").stdout.text.endswith("packed\n")


@pytest.mark.usefixtures("sandbox")
class TestEnd:
    """Nothing is left, however a job ends."""

    def test_cancellation_kills_everything(self) -> None:
        token = os.urandom(16).hex()
        script = f"setsid sh -c 'sleep 100000; : {token}' & sleep 100000; : {token}"

        async def cancel_when_running() -> None:
            job = asyncio.create_task(run_sandboxed(SandboxJob(command=["sh", "-c", script])))
            while len([line for _, line in processes_with(token) if line.startswith("sh")]) < 2:
                assert not job.done(), job.result()
                await asyncio.sleep(0.02)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            assert processes_with(token) == []

        asyncio.run(cancel_when_running())

    def test_cancellation_during_the_launch(self) -> None:
        async def cancel_early(turns: int, token: str) -> None:
            command = ["sh", "-c", f"sleep 100000; : {token}"]
            job = asyncio.create_task(run_sandboxed(SandboxJob(command=command)))
            for _ in range(turns):
                await asyncio.sleep(0)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            assert processes_with(token) == []

        for turns in range(0, 40, 3):
            asyncio.run(cancel_early(turns, os.urandom(16).hex()))

    def test_nothing_outlives_a_host_that_is_killed(self) -> None:
        token = os.urandom(16).hex()
        script = f"setsid sh -c 'sleep 100000; : {token}' & sleep 100000; : {token}"
        source = "import sys; from fulmen.tools.sandbox import SandboxJob, run_sandboxed_blocking as run\n"
        host = subprocess.Popen(
            [sys.executable, "-c", source + "run(SandboxJob(command=sys.argv[1:]))", "sh", "-c", script]
        )
        try:
            while len([line for _, line in processes_with(token) if line.startswith("sh")]) < 2:
                assert host.poll() is None
                time.sleep(0.05)
        finally:
            host.send_signal(signal.SIGKILL)
            host.wait()
        while processes_with(token):  # the test's own time limit ends this
            time.sleep(0.05)

    def test_no_descriptor_and_no_control_group_is_left(self) -> None:
        async def cancelled_flood() -> None:
            limits = SandboxLimits(flood_bytes=1 << 40)
            flood = asyncio.create_task(run_sandboxed(SandboxJob(command=["yes"], limits=limits, stdin=bytes(MIB))))
            await asyncio.sleep(1)
            flood.cancel()
            await asyncio.gather(flood, return_exceptions=True)

        shell("true")  # whatever is made once
        before = set(os.listdir("/proc/self/fd"))
        group = create_control_group(SandboxLimits())
        for _ in range(3):
            shell("true")
        asyncio.run(cancelled_flood())
        assert set(os.listdir("/proc/self/fd")) == before
        if group is not None:
            beside = {folder.name for entry in group.entries for folder in entry.parent.parent.iterdir()}
            group.remove()
            ours = {name for name in beside if name.startswith(f"fulmen-sandbox-{os.getpid()}-")}
            assert ours == {group.memory.name}

    def test_the_program_ends_when_its_main_process_does(self) -> None:
        assert shell("sleep 100000 & echo done").stdout.text == "done\n"


def instead_of(name: str, replacement: str | None) -> Callable[..., str | None]:
    """shutil.which with another answer for one program."""
    which = shutil.which
    return lambda wanted, path=None: replacement if wanted == name else which(wanted, path=path)


class TestRefusal:
    """Without a whole sandbox nothing runs."""

    def test_a_missing_program(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command.shutil, "which", instead_of("bwrap", None))
        with pytest.raises(SandboxUnavailable, match="bwrap is missing.*apt install bubblewrap"):
            shell("true")

    def test_bubblewrap_that_fails(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        broken = tmp_path / "bwrap"
        broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
        broken.chmod(0o755)
        monkeypatch.setattr(command.shutil, "which", instead_of("bwrap", str(broken)))
        with pytest.raises(SandboxUnavailable, match=r"No permissions to create new namespace.*user namespaces"):
            shell("true")

    @pytest.mark.usefixtures("sandbox")
    def test_a_sandbox_without_a_filter(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        unfiltered = tmp_path / "bwrap"
        script = '#!/bin/bash\nargs=("$@")\nfor i in "${!args[@]}"; do\n'
        script += '  if [ "${args[i]}" = --seccomp ]; then unset "args[i]" "args[i+1]"; fi\ndone\n'
        unfiltered.write_text(script + f'exec {shutil.which("bwrap")} "${{args[@]}}"\n')
        unfiltered.chmod(0o755)
        monkeypatch.setattr(command.shutil, "which", instead_of("bwrap", str(unfiltered)))
        with pytest.raises(SandboxUnavailable, match="not closed.*'Seccomp': '0'"):
            shell("true")

    def test_no_libseccomp(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> int:
            raise OSError("libseccomp is missing")

        monkeypatch.setattr(process, "filter_descriptor", missing)
        with pytest.raises(SandboxUnavailable, match="libseccomp is missing"):
            shell("true")

    @pytest.mark.usefixtures("sandbox")
    def test_a_launch_that_hangs(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        hanging = tmp_path / "bwrap"
        hanging.write_text("#!/bin/sh\nsleep 100000\n")
        hanging.chmod(0o755)
        monkeypatch.setattr(command.shutil, "which", instead_of("bwrap", str(hanging)))
        monkeypatch.setattr(process, "LAUNCH_SECONDS", 0.5)
        with pytest.raises(SandboxUnavailable, match="not ready"):
            shell("true")
        assert processes_with(str(hanging)) == []


class TestBadInput:
    """Jobs that could never run."""

    @pytest.mark.parametrize("path", ["/etc/passwd", "../out", "a/../../b", "", ".", "a\0b", "/".join("x" * 40)])
    def test_paths_that_lead_out(self, path: str) -> None:
        with pytest.raises(ValueError, match="no path within the working folder"):
            SandboxJob(command=["true"], files={path: b""})

    @pytest.mark.parametrize("command", [[], "true", ["a\0b"], [1]])
    def test_commands(self, command: object) -> None:
        with pytest.raises(ValueError, match="command"):
            SandboxJob(command=command)

    @pytest.mark.parametrize("folder", ["/", "relative", "/no/such/folder"])
    def test_folders(self, folder: str) -> None:
        with pytest.raises(ValueError, match="can't be made readable"):
            SandboxJob(command=["true"], readable=[Path(folder)])

    @pytest.mark.usefixtures("sandbox")
    def test_files_that_do_not_fit(self) -> None:
        limits = SandboxLimits(disk_bytes=MIB)
        with pytest.raises(ValueError, match="'large' could not be put into the working folder"):
            shell("true", files={"large": bytes(2 * MIB)}, limits=limits)

    @pytest.mark.usefixtures("sandbox")
    def test_a_file_that_is_a_folder_of_another(self) -> None:
        with pytest.raises(ValueError, match="'a/b' could not be put"):
            shell("true", files={"a": b"", "a/b": b""})

    @pytest.mark.parametrize("limits", [{"wall_seconds": 0}, {"processes": -1}, {"cpu_seconds": float("nan")}])
    def test_limits_that_are_none(self, limits: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=next(iter(limits))):
            SandboxLimits(**limits)
