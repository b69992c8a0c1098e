"""The trainer: micro-batches to gradients, gradients to new weights.

`forward_backward(batches, loss)` is the seam between what is trained and how: pretraining, fine-tuning and
reinforcement learning differ in the samples and the loss that they pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from fulmen.model.experts import RouterLoad
from fulmen.parallel.ranks import Ranks
from fulmen.train.losses import Loss
from fulmen.train.packing import PackedBatch
from fulmen.train.scoring import Scorer
from fulmen.train.settings import OptimizerSettings


class NonFiniteError(ArithmeticError):
    """A loss or a gradient is not a number; `batches` are those that this process computed it from."""

    def __init__(self, message: str, batches: Sequence[PackedBatch]) -> None:
        super().__init__(message)
        self.batches = tuple(batches)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What the forward passes of one step measured, over all micro-batches and processes.

    Example: `Tally(loss=2.31, aux_loss=2.02, imbalance=1.4, tokens=32_000, trained=9_120)`.
    """

    loss: float
    """The mean per weight of the trained targets."""
    aux_loss: float
    """The router's balancing loss before its coefficient: as low as K, the experts per token, when even."""
    imbalance: float
    """Tokens of the busiest expert over those of an even share, mean over layers: 1 when even, E / K at worst."""
    tokens: int
    trained: int
    """Tokens that were targets."""


class Trainer:
    """Weights and their optimizer.

    Example: one step of fine-tuning::

        tally = trainer.forward_backward(batches, supervised_loss)
        norm = trainer.clip_gradients()
        trainer.step(learning_rate=1e-3)
    """

    def __init__(self, scorer: Scorer, settings: OptimizerSettings, *, aux_loss_coef: float, ranks: Ranks) -> None:
        self.scorer = scorer
        self.optimizer = make_optimizer(scorer, settings)
        self._clip_norm = settings.clip_norm
        self._aux_loss_coef = aux_loss_coef
        self._ranks = ranks

    def forward_backward(self, batches: Sequence[PackedBatch], loss: Loss) -> Tally:
        """Add the gradient of a step's loss; `batches` are the micro-batches of all processes, in the same order.

        The loss is `sum_b loss(b) / W + aux_loss_coef * sum_b aux(b) * T_b / T` over the micro-batches b, with W the
        weight of all the step's targets, T_b the tokens of b and T those of all. Each process computes every
        world-size-th micro-batch, and all know W without asking.
        """
        ranks, mine = self._ranks, batches[self._ranks.rank :: self._ranks.world_size]
        if len(batches) % ranks.world_size:
            raise ValueError(f"{len(batches)} micro-batches cannot be shared evenly by {ranks.world_size} processes")
        tokens = sum(len(batch.tokens) for batch in batches)
        total_weight = sum(batch.weights.double().sum().item() for batch in batches)
        if total_weight <= 0:
            raise ValueError(f"the weights of the step's {tokens} tokens sum to {total_weight}: nothing to train on")
        sums = torch.zeros(3, dtype=torch.float64)  # loss, aux loss, imbalance
        for batch in mine:
            logprobs, load = self.scorer(batch)
            batch_loss, share = loss(logprobs, batch) / total_weight, len(batch.tokens) / tokens
            aux_loss = batch_loss.new_zeros(()) if load is None else load.balancing_loss() * share
            if not (batch_loss.isfinite() and aux_loss.isfinite()):
                raise NonFiniteError(f"the loss is {batch_loss.item()}, the auxiliary loss {aux_loss.item()}", [batch])
            (batch_loss + self._aux_loss_coef * aux_loss).backward()
            imbalance = 0.0 if load is None else _imbalance(load) * share
            sums += torch.tensor([batch_loss.item(), aux_loss.item(), imbalance], dtype=torch.float64)
        mean, aux, imbalance = ranks.sum(sums).tolist()
        trained = sum(len(batch.targets) for batch in batches)
        return Tally(loss=mean, aux_loss=aux, imbalance=imbalance, tokens=tokens, trained=trained)

    def clip_gradients(self) -> float:
        """Scale the gradients down to the norm of the settings; returns the norm that they had."""
        gradients = [p.grad for p in self.scorer.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if self._clip_norm is not None and norm.isfinite():
            nn.utils.clip_grads_with_norm_(self.scorer.parameters(), self._clip_norm, norm)
        return norm.item()

    def step(self, learning_rate: float) -> None:
        """Move the weights and drop the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def discard_gradients(self) -> None:
        """Drop the gradients without a step."""
        self.optimizer.zero_grad(set_to_none=True)


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW in one pass over the weights, decaying matrices only.

    Not the embedding: rows of words that are rarely seen would fade, and where it is the head, too, never be written.
    """

    def those(decayed: bool) -> Iterator[nn.Parameter]:
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and (parameter.dim() >= 2 and "embed_tokens" not in name) == decayed:
                yield parameter

    groups: list[dict[str, Any]] = [
        {"params": list(those(decayed=True)), "weight_decay": settings.weight_decay},
        {"params": list(those(decayed=False)), "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.eps, fused=True)
    for parameter in (parameter for group in groups for parameter in group["params"]):
        # What the first step would do by itself; here already, so that a checkpoint can be loaded into it.
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=parameter.device if parameter.is_cuda else "cpu"),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def _imbalance(load: RouterLoad) -> float:
    """Mean over layers of the busiest expert's fraction [layers, E], relative to an even share."""
    fraction: Tensor = load.fraction
    return (fraction.amax(1) / fraction.mean(1)).mean().item()
