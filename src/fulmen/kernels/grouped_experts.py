"""The experts' feed-forward as one pair of matrix products per expert, over tokens sorted by expert.

Shapes: T tokens, E experts, K experts per token, F inner width.
"""

import torch
from torch import Tensor
from torch.nn import functional


def grouped_experts(x: Tensor, expert_ids: Tensor, weights: Tensor, w13: Tensor, w2: Tensor) -> Tensor:
    """`sum_k weights_k * w2(silu(w1 x) * (w3 x))` with the matrices of expert k; no token is dropped.

    x [T, hidden]; expert_ids int64 [T, K]; weights float32 [T, K]; w13 [E, 2 F, hidden] (w1, then w3);
    w2 [E, hidden, F]. Returns [T, hidden] in x's dtype. Differentiable in x, weights, w13 and w2.
    """
    num_tokens, top_k = expert_ids.shape
    order = expert_ids.flatten().argsort(stable=True)  # [T * K]
    counts = torch.bincount(expert_ids.flatten(), minlength=len(w13)).tolist()
    parts = []
    for expert, rows in enumerate(order.split(counts)):
        gate, up = (x[rows // top_k] @ w13[expert].T).chunk(2, dim=-1)  # each [n, F]
        parts.append((functional.silu(gate) * up) @ w2[expert].T)  # [n, hidden]
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    chosen = torch.cat(parts)[inverse].view(num_tokens, top_k, -1)  # [T, K, hidden]
    return (weights[..., None] * chosen).sum(1).to(x.dtype)
