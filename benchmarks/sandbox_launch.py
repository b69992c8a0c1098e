"""A launch in the sandbox against a plain subprocess, same program, one run; alone, and 64 at once.

Both run from a coroutine with pipes on all three streams, in turn. "Launch" is the whole of it: namespaces, mounts,
filter, control group, handshake, the program `true`, reading its streams, and giving everything back.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from rich.console import Console
from rich.table import Table

from fulmen.tools.sandbox import SandboxJob, run_python, run_sandboxed
from fulmen.tools.sandbox.python_program import OPTIONS, interpreter

Launch = Callable[[], Awaitable[object]]


async def plain(*command: str) -> None:
    """The peer: no isolation at all."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    await process.communicate(b"")


async def seconds(launch: Launch, at_once: int) -> float:
    """Wall seconds for each of `at_once` launches."""
    start = time.perf_counter()
    await asyncio.gather(*(launch() for _ in range(at_once)))
    return (time.perf_counter() - start) / at_once


async def measure(ours: Launch, peer: Launch, at_once: int, repeats: int) -> list[str]:
    """Medians of both in milliseconds, the slowest tenth of ours, and the ratio; taken in turn after a warm-up."""
    await seconds(ours, at_once), await seconds(peer, at_once)
    pairs = [(await seconds(ours, at_once), await seconds(peer, at_once)) for _ in range(repeats)]
    mine, theirs = sorted(a for a, _ in pairs), [b for _, b in pairs]
    median, other = statistics.median(mine), statistics.median(theirs)
    slow = mine[int(0.9 * (len(mine) - 1))]
    return [f"{median * 1e3:.1f}", f"{slow * 1e3:.1f}", f"{other * 1e3:.1f}", f"{median / other:.1f}"]


async def table(repeats: int, at_once: int) -> Table:
    """Every pair of the benchmark."""
    shown = Table(title="Milliseconds a launch", title_justify="left")
    for i, column in enumerate(["program", "at once", "sandbox", "90th percentile", "plain", "ratio"]):
        shown.add_column(column, justify="right" if i else "left")
    python = [interpreter()[0], *OPTIONS, "-c", ""]
    programs: dict[str, tuple[Launch, Launch]] = {
        "true": (lambda: run_sandboxed(SandboxJob(command=["true"])), lambda: plain("true")),
        "python": (lambda: run_python(""), lambda: plain(*python)),
    }
    for name, (ours, peer) in programs.items():
        for number in (1, at_once):
            shown.add_row(name, str(number), *await measure(ours, peer, number, max(3, repeats // number)))
    return shown


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=64)
    options = parser.parse_args()
    Console(width=120).print(asyncio.run(table(options.repeats, options.at_once)))


if __name__ == "__main__":
    main()
