"""One forward pass for the scheduler's work: a packed batch in, logits of the sequences that sample out.

Small steps on a CPU go through the native step when it could be built; everything else through the torch modules.
Both work on the same cache.
"""

import itertools

import torch
from torch import Tensor

from fulmen.engine.scheduler import Work
from fulmen.kernels import native
from fulmen.model.cache import ForwardBatch, HybridCache
from fulmen.model.decoder import Decoder
from fulmen.model.native import NativeStep


class Runner:
    """Owns the cache's tensors and the model; implements `memory.CacheOperations`."""

    def __init__(self, model: Decoder, cache: HybridCache) -> None:
        self.model = model
        self.cache = cache
        self._device = cache.states.device
        self._native = NativeStep(model) if self._device.type == "cpu" and native.available() else None

    @torch.inference_mode()
    def run(self, works: list[Work]) -> Tensor | None:
        """float32 [rows, vocab]: the logits of each work that samples, in order; None when none does."""
        sequences = [work.sequence for work in works]
        tokens = [token for work in works for token in work.sequence.tokens[work.sequence.computed :][: work.length]]
        batch = ForwardBatch.pack(
            [work.length for work in works],
            contexts=[sequence.computed for sequence in sequences],
            slots=[sequence.slot or 0 for sequence in sequences],
            pages=[sequence.pages for sequence in sequences],
            device=self._device,
        )
        ends = [end - 1 for end in itertools.accumulate(batch.lengths)]
        last = torch.tensor([end for end, work in zip(ends, works, strict=True) if work.samples], dtype=torch.int64)
        packed = torch.tensor(tokens, device=self._device)
        if self._native is not None and self._native.supports(batch):
            logits = self._native.forward(packed, batch, self.cache, last)
        else:
            hidden = self.model(packed, batch, self.cache)  # [T, hidden]
            logits = self.model.head(hidden[last.to(self._device)])
        return logits if len(last) else None

    def clear_slot(self, slot: int) -> None:
        """Empty states."""
        self.cache.clear_slot(slot)

    def copy_slot(self, source: int, target: int) -> None:
        """Copy the states of all lightning layers."""
        self.cache.copy_slot(source, target)

    def copy_page(self, source: int, target: int) -> None:
        """Copy a page of keys and values of all softmax layers."""
        self.cache.copy_page(source, target)
