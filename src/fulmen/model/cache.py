"""What a forward pass is told, and what it remembers: `ForwardBatch` and `HybridCache`.

A batch is packed: the new tokens of all its sequences lie one after the other, without padding, because padding
would decay the lightning states. Softmax layers remember keys and values in pages that a block table maps;
lightning layers remember one matrix per head in a slot. Both are plain tensors that are updated in place, so
that a native step on the CPU and the torch modules share them.
"""

import math
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from fulmen.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class ForwardBatch:
    """The inputs of one forward pass over S packed sequences with T new tokens in all.

    Example: a prompt chunk of three tokens after 8 cached ones, and a decode step of another sequence after 5::

        ForwardBatch.pack([3, 1], contexts=[8, 5], slots=[0, 1], pages=[[4], [2]])
        # positions [8, 9, 10, 5], cu_seqlens [0, 3, 4], block_table [[4], [2]]
    """

    positions: Tensor
    """int64 [T]: the position of each new token in its own sequence."""
    cu_seqlens: Tensor
    """int64 [S + 1]: where each sequence's new tokens start; the last entry is T."""
    lengths: tuple[int, ...]
    """New tokens of each sequence, at least 1; the same facts as cu_seqlens, readable without a device sync."""
    contexts: tuple[int, ...]
    """Tokens of each sequence that the cache holds already."""
    slots: Tensor | None = None
    """int64 [S]: each sequence's row in the lightning states; None without a cache."""
    block_table: Tensor | None = None
    """int64 [S, most pages of any sequence]: pages of each sequence in order, padded with 0; None without a cache."""

    @classmethod
    def pack(
        cls,
        lengths: Sequence[int],
        *,
        contexts: Sequence[int] | None = None,
        slots: Sequence[int] | None = None,
        pages: Sequence[Sequence[int]] | None = None,
        device: torch.device | str = "cpu",
    ) -> "ForwardBatch":
        """Describe sequences with `lengths` new tokens each; without contexts all start at position 0."""
        contexts = [0] * len(lengths) if contexts is None else contexts
        positions = [context + i for context, length in zip(contexts, lengths, strict=True) for i in range(length)]
        width = max((len(row) for row in pages), default=0) if pages is not None else 0
        table = None if pages is None else [list(row) + [0] * (width - len(row)) for row in pages]
        return cls(
            positions=torch.tensor(positions, dtype=torch.int64, device=device),
            cu_seqlens=torch.tensor([0, *accumulate(lengths)], dtype=torch.int64, device=device),
            lengths=tuple(lengths),
            contexts=tuple(contexts),
            slots=None if slots is None else torch.tensor(slots, dtype=torch.int64, device=device),
            block_table=None if table is None else torch.tensor(table, dtype=torch.int64, device=device),
        )


@dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """What the layers of one forward pass share, computed once before the first."""

    batch: ForwardBatch
    angles: tuple[Tensor, Tensor]
    """Cosine and sine of the rotary embedding, float32 [T, 1, rotary_dim / 2]."""
    cache: "HybridCache | None" = None
    rows: Tensor | None = None
    """int64 [T]: rows of the pages that the new keys and values go to (`HybridCache.rows`); None without a cache."""
    report_load: Callable[[tuple[Tensor, Tensor]], None] | None = None
    """Told each router's (probability [E], fraction [E]) in turn; None: nobody asked. A function and no list, because
    a wrapper that shards the layers replaces structures of tensors that pass through it by copies."""


class HybridCache:
    """The memory of all sequences: pages of keys and values, and slots of lightning states.

    keys, values: [softmax layers, pages, page_size, kv_heads, head_dim] in the model's dtype.
    states: [lightning layers, slots, heads, head_dim, head_dim] in float32, always.
    Which page or slot belongs to whom is the engine's business (`engine.blocks`, `engine.states`).
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_pages: int,
        num_slots: int,
        page_size: int = 64,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.page_size = page_size
        pages = (len(config.softmax_layers), num_pages, page_size, config.num_kv_heads, config.head_dim)
        slots = (len(config.lightning_layers), num_slots, config.num_heads, config.head_dim, config.head_dim)
        self.keys = _zeros(pages, dtype, device)
        self.values = _zeros(pages, dtype, device)
        self.states = _zeros(slots, torch.float32, device)

    @property
    def num_pages(self) -> int:
        """Pages that the engine can hand out."""
        return self.keys.shape[1]

    @property
    def num_slots(self) -> int:
        """State slots that the engine can hand out."""
        return self.states.shape[1]

    @property
    def bytes_per_page(self) -> int:
        """Memory of one page over all softmax layers, keys and values."""
        return 2 * self.keys[:, :1].numel() * self.keys.element_size()

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one state over all lightning layers."""
        return self.states[:, :1].numel() * self.states.element_size()

    def rows(self, batch: ForwardBatch) -> Tensor:
        """int64 [T]: where each new token's key and value lie when pages and their entries are counted in one go."""
        assert batch.block_table is not None
        if not batch.block_table.numel():  # a model without softmax layers owns no pages
            return batch.positions
        lengths = torch.tensor(batch.lengths, device=batch.positions.device)
        sequences = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)  # [T]
        pages = batch.block_table[sequences, batch.positions // self.page_size]
        return pages * self.page_size + batch.positions % self.page_size

    def clear_slot(self, slot: int) -> None:
        """Forget: the slot's states become those of an empty sequence."""
        self.states[:, slot] = 0

    def copy_slot(self, source: int, target: int) -> None:
        """Snapshot or restore: the target's states become a copy of the source's."""
        self.states[:, target] = self.states[:, source]

    def copy_page(self, source: int, target: int) -> None:
        """The target's keys and values become a copy of the source's."""
        self.keys[:, target] = self.keys[:, source]
        self.values[:, target] = self.values[:, source]


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Zeros that, in main memory, take room only where they are written: `torch.zeros` writes every page at once."""
    size = math.prod(shape) * dtype.itemsize
    if torch.device(device).type != "cpu" or not size:
        return torch.zeros(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
