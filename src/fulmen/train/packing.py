"""Samples to micro-batches: sequences of any length lie one after the other, without padding.

Attention and lightning states begin anew at each sequence, because `ForwardBatch` carries the boundaries. Only the
positions that predict a target go through the head, so what isn't trained on costs no logits.

Shapes: T tokens of a micro-batch, N trained targets.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from fulmen.model.cache import ForwardBatch
from fulmen.trace import TrainingSample
from fulmen.train.source import SampleSource


@dataclass(frozen=True, kw_only=True)
class PackedBatch:
    """One micro-batch: packed tokens, and which hidden state is to predict which target.

    Example: a sequence 5 6 7 of which only the 7 is trained, then a sequence 8 9 of which the 9 is::

        # tokens [5, 6, 7, 8, 9], indices [1, 3], targets [7, 9]
    """

    samples: tuple[TrainingSample, ...]
    tokens: Tensor
    """int64 [T]."""
    forward: ForwardBatch
    indices: Tensor
    """int64 [N]: rows of the hidden states that predict a target."""
    targets: Tensor
    """int64 [N]: the token after each of those rows."""
    weights: Tensor
    """float32 [N]: how much each target counts."""

    @classmethod
    def pack(cls, samples: Sequence[TrainingSample], *, device: torch.device | str = "cpu") -> "PackedBatch":
        """Pack whole samples. A first token is never a target: nothing predicts it, whatever its mask."""
        lengths = [len(sample.token_ids) for sample in samples]
        starts = [0, *accumulate(lengths)]
        chosen = [  # (sample, position) of every target
            (n, i) for n, sample in enumerate(samples) for i in range(1, lengths[n]) if sample.mask[i]
        ]
        tokens = [token for sample in samples for token in sample.token_ids]
        return cls(
            samples=tuple(samples),
            tokens=torch.tensor(tokens, dtype=torch.int64, device=device),
            forward=ForwardBatch.pack(lengths, device=device),
            indices=torch.tensor([starts[n] + i - 1 for n, i in chosen], dtype=torch.int64, device=device),
            targets=torch.tensor([samples[n].token_ids[i] for n, i in chosen], dtype=torch.int64, device=device),
            weights=torch.tensor([samples[n].weights[i] for n, i in chosen], dtype=torch.float32, device=device),
        )


class Packer:
    """Draws samples from a source into micro-batches of at most `max_tokens`, whole samples only.

    A sample that does not fit any more opens the next micro-batch; it is part of the packer's position.
    """

    def __init__(
        self, source: SampleSource, *, max_length: int, max_tokens: int, device: torch.device | str = "cpu"
    ) -> None:
        self._source = source
        self._max_length = max_length
        self._max_tokens = max_tokens
        self._device = device
        self._carried: TrainingSample | None = None

    def next(self) -> PackedBatch:
        """The next micro-batch."""
        samples: list[TrainingSample] = []
        total = 0
        while True:
            sample = self._carried or self._draw()
            total += len(sample.token_ids)
            if total > self._max_tokens:
                self._carried = sample
                return PackedBatch.pack(samples, device=self._device)
            self._carried = None
            samples.append(sample)

    def state_dict(self) -> dict[str, Any]:
        """The position, JSON-able: the source's, and the sample drawn but not packed yet."""
        carried = None if self._carried is None else dataclasses.asdict(self._carried)
        return {"source": self._source.state_dict(), "carried": carried}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._source.load_state_dict(state["source"])
        carried = state["carried"]
        columns: dict[str, Any] = (
            {} if carried is None else {k: None if v is None else tuple(v) for k, v in carried.items()}
        )
        self._carried = None if carried is None else TrainingSample(**columns)

    def _draw(self) -> TrainingSample:
        sample = self._source.next()
        if not 1 <= len(sample.token_ids) <= self._max_length:
            raise ValueError(
                f"the source gave a sample of {len(sample.token_ids)} tokens; the stage takes 1..{self._max_length}: "
                "split or leave out such samples in the source, or raise the stage's length"
            )
        return sample
