"""The cache's memory: zeros from the start, and taken from the machine only where they are written."""

import os
from pathlib import Path

import pytest
import torch
from tiny_decoders import MINIMAX_LIKE

from fulmen.model.cache import HybridCache

STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not STATM.exists(), reason="only Linux says here what is resident")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cache_takes_memory_only_where_it_is_written(dtype: torch.dtype) -> None:
    probe = HybridCache(MINIMAX_LIKE, num_pages=1, num_slots=1, dtype=dtype)
    num_pages, num_slots = (1 << 29) // probe.bytes_per_page, (1 << 29) // probe.bytes_per_slot
    before = resident_bytes()
    cache = HybridCache(MINIMAX_LIKE, num_pages=num_pages, num_slots=num_slots, dtype=dtype)
    cache.keys[:, num_pages // 2] = 1
    cache.copy_page(num_pages // 2, num_pages - 1)
    cache.clear_slot(num_slots - 1)
    assert cache.keys.sum() == 2 * cache.keys[:, 0].numel()
    assert not cache.values[:, num_pages // 2].any()
    assert not cache.states[:, num_slots // 2].any()
    assert resident_bytes() - before < 50 << 20
