"""RMSNorm and its gradient by the native kernel.

Shapes: T tokens, D width.
"""

import ctypes

import torch
from torch import Tensor

from fulmen.kernels.native.abi import Norm
from fulmen.kernels.native.loading import functions, openmp


def norm_forward(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`x * scale * weight` [T, D] and the scales `1 / sqrt(mean(x^2) + eps)` [T] of x [T, D], weight [D], float32."""
    out, scale = torch.empty_like(x), x.new_empty(len(x))
    norm = _norm(x, weight, scale, eps)
    functions().fulmen_norm(ctypes.byref(norm), out.data_ptr(), torch.get_num_threads(), openmp())
    return out, scale


def norm_backward(x: Tensor, weight: Tensor, scale: Tensor, d_out: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight, given that of the output and what `norm_forward` gave for the scales."""
    d_out, d_x, d_weight = d_out.contiguous(), torch.empty_like(x), torch.empty_like(weight)
    norm = _norm(x, weight, scale, 0.0)
    pointers = [tensor.data_ptr() for tensor in (d_out, d_x, d_weight)]
    functions().fulmen_norm_backward(ctypes.byref(norm), *pointers, torch.get_num_threads(), openmp())
    return d_x, d_weight


def _norm(x: Tensor, weight: Tensor, scale: Tensor, eps: float) -> Norm:
    return Norm(*x.shape, x.data_ptr(), weight.data_ptr(), scale.data_ptr(), eps)
