"""The entries: run a job in a sandbox, from a coroutine or from plain code, many at once."""

import asyncio

from fulmen.tools.sandbox.job import SandboxJob, SandboxResult
from fulmen.tools.sandbox.process import SandboxProcess


async def run_sandboxed(job: SandboxJob) -> SandboxResult:
    """Run `job` in a sandbox of its own; cancelling kills all of it before the cancellation goes on.

    Raises:
        SandboxUnavailable: no sandbox can be had here; nothing was run.
        ValueError: the files of the job don't fit into its `disk_bytes`.
    """
    async with SandboxProcess(job) as process:
        return await process.run()


def run_sandboxed_blocking(job: SandboxJob) -> SandboxResult:
    """`run_sandboxed` from a thread that has no event loop."""
    return asyncio.run(run_sandboxed(job))


def check_sandbox() -> None:
    """Launch an empty job. Raises SandboxUnavailable, with what to do about it, if this machine has no sandbox."""
    run_sandboxed_blocking(SandboxJob(command=["true"]))
