"""What every benchmark shares: paired timing, peak memory, the machine's limits probed in the same run, the table.

Both sides of a pair run in turn, A B A B, so that a drift of a noisy machine touches both; the ratio is that of the
medians. Each table states the machine's GEMM peak and memory bandwidth as measured in the same process.
"""

import ctypes
import gc
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the machine can do: GEMM of a dtype in GFLOP/s and reading memory in GB/s, by this process's threads."""

    gemm: float
    bandwidth: float


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory(run: Callable[[], object]) -> int:
    """Most bytes that were resident during one call, above those that were before it; Linux only."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that the allocator kept would hide what the call needs
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is resident now
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(line: str) -> int:
    """Bytes that a line of the process's status states."""
    return 1024 * int(re.findall(rf"{line}:\s*(\d+) kB", Path("/proc/self/status").read_text())[0])


def probe(dtype: torch.dtype) -> Limits:
    """Measure the limits: the best of several 2048-cubed products, and of several sums over half a gigabyte."""
    a, b = torch.randn(2, 2048, 2048).to(dtype)
    read = torch.ones(128 * 1024 * 1024)
    product = min(seconds(lambda: a @ b) for _ in range(8))
    total = min(seconds(read.sum) for _ in range(6))
    return Limits(gemm=2 * 2048**3 / product / 1e9, bandwidth=read.numel() * 4 / total / 1e9)


def paired(ours: Callable[[], float], peer: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Medians of two measures that return seconds, taken in turn after one warm-up each."""
    ours(), peer()
    pairs = [(ours(), peer()) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


class Report:
    """A table that is printed when the benchmark ends, with the limits probed before and after, products in `dtype`."""

    def __init__(self, title: str, columns: list[str], threads: int, dtype: torch.dtype = torch.float32) -> None:
        torch.set_num_threads(threads)
        self.dtype = dtype
        self.limits = probe(dtype)
        self.table = Table(title=title, title_justify="left")
        for i, column in enumerate(columns):
            self.table.add_column(column, justify="right" if i else "left")
        self.threads = threads

    def row(self, *cells: str) -> None:
        """Add one row, and show it at once: a benchmark may run for minutes."""
        self.table.add_row(*cells)
        Console().print("  ".join(cells), style="dim")

    def print(self) -> None:
        """The table and the machine's limits."""
        after = probe(self.dtype)
        console = Console(width=120)
        console.print(self.table)
        kind = str(self.dtype).removeprefix("torch.")
        console.print(
            f"{self.threads} threads; {kind} GEMM {self.limits.gemm:.0f} GFLOP/s before and {after.gemm:.0f} after, "
            f"memory read {self.limits.bandwidth:.1f} and {after.bandwidth:.1f} GB/s"
        )
