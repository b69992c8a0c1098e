"""Lightning attention as the layer needs it, of activated projections: natively on CPUs, elsewhere in two steps.

Shapes: T tokens packed, S sequences, H heads, D head_dim.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fulmen.kernels import native
from fulmen.kernels.dispatch import lightning
from fulmen.kernels.lightning_chunk import sequence_bounds


def silu_lightning(
    qkv: Tensor, slopes: Tensor, state: Tensor | None = None, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`lightning` of the three parts of silu(qkv): qkv [T, H, 3 D], for each head q, then k, then v.

    Other arguments and results as there: out [T, H, D] in qkv's dtype, the final state, differentiable once.
    """
    dim = qkv.shape[-1] // 3
    if not native.takes(qkv, dim):
        q, k, v = functional.silu(qkv).split(dim, dim=-1)
        return lightning(q, k, v, slopes, state, cu_seqlens)
    bounds = sequence_bounds(cu_seqlens, len(qkv))
    shape = (len(bounds) - 1, qkv.shape[1], dim, dim)
    if state is None:
        state = qkv.new_zeros(shape, dtype=torch.float32)
    if state.shape != shape or slopes.shape != shape[1:2]:  # the native kernel would read memory of others
        raise ValueError(
            f"a state {list(shape)} and {shape[1]} slopes are needed, got {list(state.shape)} and {list(slopes.shape)}"
        )
    qkv, slopes, state = qkv.contiguous(), slopes.float().contiguous(), state.float()
    keep = torch.is_grad_enabled() and (qkv.requires_grad or state.requires_grad)
    return _SiluLightning.apply(qkv, slopes, state, bounds, keep)


class _SiluLightning(torch.autograd.Function):
    """Keeps the projections and the states before every chunk; what silu made of them is computed again.

    It runs without gradients as well, so that forward-mode derivatives are refused instead of lost.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, slopes: Tensor, state: Tensor, bounds: Sequence[int], keep: bool
    ) -> tuple[Tensor, Tensor]:
        out, final, starts = native.lightning_forward(qkv, slopes, state, bounds, keep=keep)
        ctx.save_for_backward(qkv, slopes, starts)
        ctx.bounds = bounds
        return out, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_final: Tensor) -> tuple[Tensor | None, ...]:
        qkv, slopes, starts = ctx.saved_tensors
        d_qkv, d_state = native.lightning_backward(qkv, slopes, starts, ctx.bounds, d_out, d_final)
        return d_qkv, None, d_state, None, None
