"""What the benchmarks measure with."""

import sys

import pytest
import torch

from benchmarks.harness import peak_memory

MEGABYTE = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_that_of_the_call_alone() -> None:
    kept = torch.ones(100 * MEGABYTE, dtype=torch.uint8)
    torch.ones(300 * MEGABYTE, dtype=torch.uint8)  # a higher peak before the call
    for size in (120, 40, 200):  # neither the order nor what is freed at the end matters
        peak = peak_memory(lambda size=size: torch.ones(size * MEGABYTE, dtype=torch.uint8))
        assert peak / MEGABYTE == pytest.approx(size, abs=12)
    assert kept.all()
