"""The gate of a feed-forward, and its gradient, by the native kernel.

Shapes: n rows, F inner width.
"""

import ctypes

import torch
from torch import Tensor

from fulmen.kernels.native.abi import TYPES, Gate, GateBackward
from fulmen.kernels.native.loading import functions, openmp


def gate_forward(inner: Tensor, out: Tensor) -> Tensor:
    """`silu(gate) * up` of inner [n, 2 F] = [gate | up], into out [n, F]; both contiguous, float32 or bfloat16."""
    functions().fulmen_gate(ctypes.byref(_gate(inner, out)), torch.get_num_threads(), openmp())
    return out


def gate_backward(inner: Tensor, d_active: Tensor, coefficient: Tensor, d_coefficient: Tensor) -> tuple[Tensor, Tensor]:
    """`coefficient * silu(gate) * up` [n, F], and the gradient of inner [n, 2 F] where d_active is that of this.

    d_active [n, F] is the gradient before the coefficient, float32 [n]; d_coefficient float32 [n] is filled.
    """
    active, d_inner = torch.empty_like(d_active), torch.empty_like(inner)
    pointers = (x.data_ptr() for x in (d_active, coefficient, d_inner, d_coefficient))
    run = GateBackward(_gate(inner, active), *pointers)
    functions().fulmen_gate_backward(ctypes.byref(run), torch.get_num_threads(), openmp())
    return active, d_inner


def _gate(inner: Tensor, active: Tensor) -> Gate:
    return Gate(*active.shape, TYPES[inner.dtype], inner.data_ptr(), active.data_ptr())
