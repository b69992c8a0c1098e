"""RMSNorm with a backward of few passes: torch's own falls apart into a dozen elementwise operations on CPUs.

Shapes: T tokens, D width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x^2) + eps) * weight` over the last dimension; x [T, D], weight [D] -> [T, D] in x's dtype.

    On CPUs, with x and weight of one dtype, float32 or float64, it is computed here, with and without gradients to the
    same last bit, and differentiable once. Elsewhere it is torch's.
    """
    if not x.is_cuda and x.dtype == weight.dtype and x.dtype in (torch.float32, torch.float64):
        return _RMSNorm.apply(x, weight, eps)
    return functional.rms_norm(x, weight.shape, weight, eps)


class _RMSNorm(torch.autograd.Function):
    """With r = 1 / sqrt(mean(x^2) + eps), y = x r w: dx = r (dy w - x r mean(dy w x r)), dw = sum_t dy x r.

    LayerNorm's backward at mean 0 gives both in one kernel, but for -r mean(dy w) in dx, which is added back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1] + eps).rsqrt()  # [T, 1]
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        d_x, d_weight, _ = torch.ops.aten.native_layer_norm_backward(
            d_out.contiguous(), x, weight.shape, torch.zeros_like(scale), scale, weight, None, [True, True, False]
        )
        d_x.addcmul_(scale, (d_out @ weight)[:, None], value=1 / x.shape[-1])
        return d_x, d_weight, None
