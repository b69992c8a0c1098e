"""Losses: pure functions of the log-probabilities of a micro-batch, each with its formula.

A loss is a sum over the micro-batch. The trainer divides by the total of the weights over the whole step, all
micro-batches and processes together, so that neither their number nor their sizes change the gradient.

Shapes: N trained targets of a micro-batch.
"""

from collections.abc import Callable

from torch import Tensor

from fulmen.train.packing import PackedBatch

Loss = Callable[[Tensor, PackedBatch], Tensor]
"""(log-probabilities float32 [N], their micro-batch) -> a sum over its targets, a scalar."""


def supervised_loss(logprobs: Tensor, batch: PackedBatch) -> Tensor:
    """Weighted cross-entropy, as a sum: `- sum_i weights_i * logprobs_i`."""
    return -(batch.weights * logprobs).sum()
