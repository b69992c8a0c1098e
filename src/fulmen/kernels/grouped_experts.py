"""The experts' feed-forward as one pair of matrix products per expert, over tokens sorted by expert.

On CPUs a loop over experts runs each product at full speed on a block that stays in cache, and the backward writes
every weight gradient by one product straight into its slice of the stacked gradient. In bfloat16 many rows are rounded
up to whole blocks: oneDNN generates code for every new number of rows, which costs more than the product. On CUDA in
bfloat16 torch's grouped_mm runs all experts in one kernel.

Shapes: T tokens, E experts, K experts per token, R rows (a token and one of its experts, T K in all, and padding)
sorted by expert, n rows of one expert, F inner width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fulmen.kernels import native
from fulmen.kernels.autocast import without_autocast
from fulmen.kernels.reference import compute_dtype

BLOCK = 64
"""Rows of one expert are a multiple of this where their number decides which code is generated."""


def grouped_experts(x: Tensor, expert_ids: Tensor, weights: Tensor, w13: Tensor, w2: Tensor) -> Tensor:
    """`sum_k weights_k * w2(silu(w1 x) * (w3 x))` with the matrices of expert k; no token is dropped.

    x [T, hidden]; expert_ids int64 [T, K], within 0..E-1; weights float32 [T, K]; w13 [E, 2 F, hidden] (rows of w1,
    then of w3); w2 [E, hidden, F]. Returns [T, hidden] in x's dtype. Differentiable once in x, weights, w13 and w2.
    """
    if x.is_cuda and x.dtype == torch.bfloat16:
        return _grouped_mm(x, expert_ids, weights, w13, w2)
    whole_blocks = x.dtype == torch.bfloat16 and expert_ids.numel() >= BLOCK * len(w13)
    rows = ExpertRows.sort(expert_ids, len(w13), BLOCK if whole_blocks else 1)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, weights, w13, w2)):
        return _GroupedExperts.apply(x, rows, weights, w13, w2)
    return _forward(x, rows, weights, w13, w2, None)


@dataclass(frozen=True)
class ExpertRows:
    """The rows of all experts, sorted by expert. Padding rows read token 0 and weigh nothing."""

    tokens: Tensor  # int64 [R]: t of each row
    places: Tensor  # int64 [T, K]: the row of each pair
    counts: Tensor  # int64 [E]: rows of each expert, padding included

    @classmethod
    def sort(cls, expert_ids: Tensor, num_experts: int, block: int = 1) -> "ExpertRows":
        """Sort expert_ids [T, K]; within an expert by token. Each expert's rows are a multiple of `block`."""
        flat = expert_ids.flatten()
        counts = torch.bincount(flat, minlength=num_experts)
        if len(counts) > num_experts:
            raise ValueError(f"expert_ids holds {int(flat.max())}, but there are {num_experts} experts")
        padded = -(-counts // block) * block
        shift = (padded - counts).cumsum(0) - (padded - counts)  # padding rows before each expert
        pairs = flat.argsort(stable=True)
        sorted_places = torch.arange(len(pairs), device=pairs.device) + shift[flat[pairs]]
        places = torch.empty_like(pairs).index_copy_(0, pairs, sorted_places)
        tokens = pairs.new_zeros(int(padded.sum())).index_copy_(0, sorted_places, pairs // expert_ids.shape[1])
        return cls(tokens, places.view_as(expert_ids), padded)

    def spread(self, weights: Tensor) -> Tensor:
        """weights [T, K] -> [R], 0 for padding."""
        return weights.new_zeros(len(self.tokens)).index_copy_(0, self.places.flatten(), weights.flatten())

    def slices(self) -> list[tuple[int, slice]]:
        """(expert, its rows) for every expert that has any."""
        found, start = [], 0
        for expert, count in enumerate(self.counts.tolist()):
            if count:
                found.append((expert, slice(start, start + count)))
            start += count
        return found

    def combine(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """values [R, hidden] -> [T, hidden]: the sum over each token's rows, weighted by weights [T, K] if given."""
        if weights is not None:
            weights = weights.to(values.dtype)
        return functional.embedding_bag(self.places, values, mode="sum", per_sample_weights=weights)


def _forward(x: Tensor, rows: ExpertRows, weights: Tensor, w13: Tensor, w2: Tensor, kept: Tensor | None) -> Tensor:
    """The loop over experts; w13 x of all rows is left in `kept` [R, 2 F] if given, for the backward."""
    values = x.new_empty(len(rows.tokens), x.shape[1])  # [R, hidden]
    most = max((part.stop - part.start for _, part in rows.slices()), default=0)
    active = x.new_empty(most, w2.shape[2])
    scratch = x.new_empty(most if kept is None else 0, w13.shape[1])
    for expert, part in rows.slices():
        count = part.stop - part.start
        inner = scratch[:count] if kept is None else kept[part]  # [n, 2 F]
        torch.mm(x.index_select(0, rows.tokens[part]), w13[expert].T, out=inner)
        torch.mm(_gate(inner, active[:count]), w2[expert].T, out=values[part])
    return rows.combine(values, weights)


class _GroupedExperts(torch.autograd.Function):
    """Keeps w13 x of every row and nothing else of that size; the rest is recomputed by cheap elementwise passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: ExpertRows, weights: Tensor, w13: Tensor, w2: Tensor) -> Tensor:
        kept = x.new_empty(len(rows.tokens), w13.shape[1])
        ctx.rows = rows
        out = _forward(x, rows, weights, w13, w2, kept)
        ctx.save_for_backward(x, weights, w13, w2, kept)
        return out

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, w13, w2, kept = ctx.saved_tensors
        rows: ExpertRows = ctx.rows
        need_x, _, _, need_w13, need_w2 = ctx.needs_input_grad
        coefficients = rows.spread(weights.to(compute_dtype(x)))  # [R]
        d_values = x.new_empty(len(rows.tokens), x.shape[1]) if need_x else None  # [R, hidden]
        d_coefficients = torch.empty_like(coefficients)
        d_w13, d_w2 = (torch.empty_like(w) if need else None for w, need in ((w13, need_w13), (w2, need_w2)))
        idle = (rows.counts == 0).nonzero()[:, 0]
        for expert, part in rows.slices():
            grad = d_out.index_select(0, rows.tokens[part])  # [n, hidden]
            d_active = grad @ w2[expert]  # [n, F], before the coefficient
            active, d_inner = _gate_backward(kept[part], d_active, coefficients[part], d_coefficients[part])
            if d_w2 is not None:
                torch.mm(grad.T, active, out=d_w2[expert])
            if d_w13 is not None:
                torch.mm(d_inner.T, x.index_select(0, rows.tokens[part]), out=d_w13[expert])
            if d_values is not None:
                torch.mm(d_inner, w13[expert], out=d_values[part])
        for gradient in (d_w13, d_w2):
            if gradient is not None and len(idle):
                gradient.index_fill_(0, idle, 0)
        d_x = None if d_values is None else rows.combine(d_values)
        d_weights = d_coefficients[rows.places]  # [T, K]
        return d_x, None, d_weights, d_w13, d_w2


def _gate(inner: Tensor, out: Tensor) -> Tensor:
    """silu(gate) * up of inner [n, 2 F], into out [n, F]."""
    if native.takes(inner, out.shape[1]):
        return native.gate_forward(inner, out)
    gate, up = inner.chunk(2, dim=-1)
    return torch.mul(functional.silu(gate), up, out=out)


def _gate_backward(
    inner: Tensor, d_active: Tensor, coefficient: Tensor, d_coefficient: Tensor
) -> tuple[Tensor, Tensor]:
    """Through silu(gate) * up: returns coefficient * silu(gate) * up [n, F] and the gradient of inner [n, 2 F].

    inner [n, 2 F] is gate and up; d_active [n, F] the gradient of the product before the coefficient [n], used up here.
    The coefficient's own gradient <silu(gate) * up, d_active> is written into d_coefficient [n].
    """
    if native.takes(inner, d_active.shape[1]):
        return native.gate_backward(inner, d_active, coefficient, d_coefficient)
    gate, up = inner.chunk(2, dim=-1)
    smooth = functional.silu(gate)
    active = smooth * up
    d_coefficient.copy_(torch.linalg.vecdot(active, d_active))
    factor = coefficient[:, None].to(inner.dtype)
    active.mul_(factor)
    d_active.mul_(factor)
    d_inner = torch.empty_like(inner)
    d_gate, d_up = d_inner.chunk(2, dim=-1)
    torch.mul(d_active, smooth, out=d_up)
    torch.ops.aten.silu_backward.grad_input(d_active.mul_(up), gate, grad_input=d_gate)
    return active, d_inner


def _grouped_mm(x: Tensor, expert_ids: Tensor, weights: Tensor, w13: Tensor, w2: Tensor) -> Tensor:
    """All experts in two kernels by torch.nn.functional.grouped_mm, which differentiates itself."""
    rows = ExpertRows.sort(expert_ids, len(w13))
    ends = rows.counts.cumsum(0).to(torch.int32)  # [E]: where each expert's rows end
    inner = functional.grouped_mm(x[rows.tokens], w13.transpose(1, 2), offs=ends)  # [R, 2 F]
    gate, up = inner.chunk(2, dim=-1)
    values = functional.grouped_mm(functional.silu(gate) * up, w2.transpose(1, 2), offs=ends)  # [R, hidden]
    chosen = values[rows.places]  # [T, K, hidden]
    return (chosen * weights[..., None]).sum(1).to(x.dtype)
