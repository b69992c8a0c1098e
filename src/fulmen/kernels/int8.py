"""Products with int8 weights: on CPUs that multiply bytes by the native kernel, elsewhere on widened weights.

There is no gradient. Shapes: T tokens, K columns and N rows of a weight, E experts, F their inner width.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from fulmen.kernels import native
from fulmen.kernels.grouped_experts import ExpertRows, grouped_experts

_ROWS = 512
"""Rows that are widened at once: still in the cache when they are multiplied."""
_FEW_TOKENS, _LARGE_WEIGHT = 256, 2**18
"""To write tokens in fixed point pays off for few of them, which cost less than widening, or if many rows read them:
of 2,048 tokens a weight of 192 x 256 takes 1.2 times as long in bytes as widened, one of 576 x 1,536 0.7 times."""


def int8_linear(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """`x (weight * scale)^T` of x [T, K], int8 weight [N, K] and its float32 scale [N]: [T, N] in x's dtype.

    The native kernel reads x in 24-bit fixed point and sums bytes exactly, which is as close as float32 gets.
    """
    if _multiplies_bytes(x, weight):
        return native.int8_product(x.float(), weight, scale).to(x.dtype)
    out = x.new_empty(len(x), len(weight))
    for first in range(0, len(weight), _ROWS):
        rows = slice(first, first + _ROWS)
        out[:, rows] = functional.linear(x, _widened(weight[rows], scale[rows], x.dtype))
    return out


def int8_experts(
    x: Tensor, expert_ids: Tensor, weights: Tensor, w13: Tensor, w13_scale: Tensor, w2: Tensor, w2_scale: Tensor
) -> Tensor:
    """`grouped_experts` with int8 w13 [E, 2 F, hidden] and w2 [E, hidden, F], scales [E, 2 F] and [E, hidden]."""
    if not (_multiplies_bytes(x, w13) and _multiplies_bytes(x, w2)):
        wide13, wide2 = _widened(w13, w13_scale, x.dtype), _widened(w2, w2_scale, x.dtype)
        return grouped_experts(x, expert_ids, weights, wide13, wide2)
    rows = ExpertRows.sort(expert_ids, len(w13))
    values = x.new_empty(len(rows.tokens), x.shape[1])  # [R, hidden]
    for expert, part in rows.slices():
        inner = int8_linear(x.index_select(0, rows.tokens[part]), w13[expert], w13_scale[expert])  # [n, 2 F]
        gate, up = inner.chunk(2, dim=-1)
        values[part] = int8_linear(functional.silu(gate, inplace=True).mul_(up), w2[expert], w2_scale[expert])
    return rows.combine(values, weights)


def _widened(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.to(dtype).mul_(scale[..., None].to(dtype))


def _multiplies_bytes(x: Tensor, weight: Tensor) -> bool:
    if x.dtype not in (torch.float32, torch.bfloat16) or weight.device.type != "cpu":
        return False
    worth = len(x) < _FEW_TOKENS or weight.shape[-2] * weight.shape[-1] >= _LARGE_WEIGHT
    return worth and weight.shape[-1] <= _native_columns()


@cache
def _native_columns() -> int:
    return native.int8_columns() if native.available() else 0
