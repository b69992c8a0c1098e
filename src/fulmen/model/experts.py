"""Feed-forward layers: the mixture of experts with its router, and the dense gated form that Llama has.

Shapes: T tokens, E experts, K experts per token, F inner width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fulmen.config import ModelConfig
from fulmen.kernels import grouped_experts
from fulmen.model.cache import ForwardPass


class GatedFeedForward(nn.Module):
    """`w2(silu(w1 x) * (w3 x))`, with w1 and w3 in one matrix: rows of w1, then rows of w3."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.w13 = nn.Linear(hidden_size, 2 * intermediate_size, bias=False)
        self.w2 = nn.Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, hidden] -> [T, hidden]."""
        gate, up = self.w13(x).chunk(2, dim=-1)  # each [T, F]
        return self.w2(functional.silu(gate) * up)


@dataclass(frozen=True, kw_only=True)
class RouterLoad:
    """How the routers of one forward pass spread their tokens, per layer with experts.

    probability [layers, E]: mean router probability of each expert, differentiable.
    fraction [layers, E]: fraction of tokens that chose each expert; sums to K over the experts.
    """

    probability: Tensor
    fraction: Tensor

    def balancing_loss(self) -> Tensor:
        """The auxiliary loss of Switch Transformers, averaged over the layers: E * sum_e fraction_e * probability_e.

        Each layer by itself: transformers averages fractions and probabilities over the layers first, and so sees
        nothing when every layer has collapsed onto experts of its own.
        """
        num_experts = self.probability.shape[1]
        return num_experts * (self.probability * self.fraction).sum(-1).mean()


class Experts(nn.Module):
    """The weights of all experts, stacked: w13 [E, 2 F, hidden] and w2 [E, hidden, F]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shape = (config.num_experts, config.intermediate_size, config.hidden_size)
        self.w13 = nn.Parameter(torch.empty(shape[0], 2 * shape[1], shape[2]))
        self.w2 = nn.Parameter(torch.empty(shape[0], shape[2], shape[1]))

    def forward(self, x: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        """x [T, hidden], expert_ids [T, K], weights [T, K] float32 -> [T, hidden].

        Autocast rounds the inputs of the products, as it does those of `nn.Linear`.
        """
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        x, w13, w2 = x.to(dtype), self.w13.to(dtype), self.w2.to(dtype)
        with torch.autocast(kind, enabled=False):
            return grouped_experts(x, expert_ids, weights, w13, w2)


class SparseExperts(nn.Module):
    """Router and experts: softmax over all logits in float32, the top K renormalised to sum 1; no token is dropped."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.experts_per_token = config.experts_per_token
        # float32 in the published files and here: a rounded router picks other experts. `Module.to` may round it all
        # the same, so the product widens again.
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False, dtype=torch.float32)
        self.experts = Experts(config)

    def forward(self, x: Tensor, shared: ForwardPass) -> Tensor:
        """x [T, hidden] -> [T, hidden]; reports its load if somebody asked."""
        with torch.autocast(x.device.type, enabled=False):
            probabilities = functional.linear(x.float(), self.gate.weight.float()).softmax(dim=-1)  # [T, E]
        weights, expert_ids = probabilities.topk(self.experts_per_token, dim=-1)  # [T, K]
        if shared.report_load is not None:
            counts = torch.bincount(expert_ids.flatten(), minlength=probabilities.shape[1])
            shared.report_load((probabilities.mean(0), counts / len(x)))
        return self.experts(x, expert_ids, weights / weights.sum(dim=-1, keepdim=True))
