"""Runs Python source in the sandbox, and says what a model should read of it."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fulmen.tools.sandbox.command import ENVIRONMENT, SandboxUnavailable
from fulmen.tools.sandbox.job import SandboxJob, SandboxResult
from fulmen.tools.sandbox.limits import SandboxLimits
from fulmen.tools.sandbox.run import run_sandboxed

PROGRAM = "program.py"
# No user's site folder, no compiled files in the way, output at once so that a kill loses nothing.
OPTIONS = ["-s", "-B", "-u", "-X", "utf8"]
TRACEBACK = "Traceback (most recent call last):"
MAX_ERROR_LINES = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonOutcome:
    """A finished program.

    Example:
        PythonOutcome(text="42\\n", result=SandboxResult(exit_code=0, ...))
    """

    text: str
    """For a model: what was printed, the last error, how it ended if not well, files that were left out."""
    result: SandboxResult


async def run_python(
    source: str,
    *,
    files: Mapping[str, bytes] | None = None,
    stdin: bytes = b"",
    collect: Sequence[str] = (),
    limits: SandboxLimits | None = None,
) -> PythonOutcome:
    """Run `source` with Python's standard library, in a sandbox whose working folder has `files` in it.

    Raises:
        SandboxUnavailable: no sandbox can be had here; nothing was run.
        ValueError: a path leads out of the working folder, or the files are larger than `limits` permits.
    """
    if PROGRAM in (files or {}):
        raise ValueError(f"the program itself is called {PROGRAM}: give the file another name")
    executable, readable = interpreter()
    job = SandboxJob(
        command=[executable, *OPTIONS, PROGRAM],
        files={**(files or {}), PROGRAM: source.encode("utf-8", errors="surrogateescape")},
        stdin=stdin,
        collect=collect,
        readable=readable,
        limits=limits or SandboxLimits(),
    )
    result = await run_sandboxed(job)
    return PythonOutcome(text=report(result), result=result)


def interpreter() -> tuple[str, list[Path]]:
    """The Python that runs in the sandbox, and the folders that it needs besides /usr.

    It is the one that runs this, without the packages of its virtual environment; or the system's, if the user that
    this process has become may not read it.
    """
    prefix, executable = Path(sys.base_prefix).resolve(), Path(sys.executable).resolve()
    if prefix.is_relative_to("/usr"):
        return str(executable), []
    if executable.is_relative_to(prefix) and os.access(executable, os.R_OK | os.X_OK):
        return str(executable), [prefix]
    system = shutil.which("python3", path=ENVIRONMENT["PATH"])
    if system is None:
        raise SandboxUnavailable(f"{executable} can't be used in the sandbox, and there is no python3 in /usr/bin")
    return system, []


def report(result: SandboxResult) -> str:
    """What a model should read of a Python program: its output first, then what went wrong and how it ended."""
    parts = [result.stdout.text, _last_error(result.stderr.text)]
    if not result.succeeded:
        parts.append(f"[{result.ending()}]")
    elif not any(part.strip() for part in parts):
        parts.append("[no output: print what you want to see]")
    parts += [f"[{path} was not read back: {reason}]" for path, reason in result.left_out.items()]
    return "\n".join(part.rstrip("\n") for part in parts if part.strip()) + "\n"


def _last_error(text: str) -> str:
    """The last traceback, or all of stderr if there is none; the middle of a long one is left out."""
    start = text.rfind(TRACEBACK)
    lines = text[max(0, start) :].splitlines()
    if len(lines) > MAX_ERROR_LINES:
        half = MAX_ERROR_LINES // 2
        lines = [*lines[:half], f"[... {len(lines) - 2 * half} lines left out ...]", *lines[-half:]]
    return "\n".join(lines)
