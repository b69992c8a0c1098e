"""The product of int8 weights with many tokens, by the native kernel."""

import ctypes

import torch
from torch import Tensor

from fulmen.kernels.native.abi import Int8Product, Matrix
from fulmen.kernels.native.loading import functions, openmp


def int8_columns() -> int:
    """The most columns of a weight that `int8_product` takes; 0 where the CPU has no products of bytes."""
    return functions().fulmen_int8_columns()


def int8_product(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """`x (weight * scale)^T`: x float32 [T, K], whose rows may lie apart; weight int8 [N, K]; scale float32 [N].

    Returns float32 [T, N].
    """
    x = x if x.stride(-1) == 1 else x.contiguous()
    out = x.new_empty(len(x), len(weight))
    product = Int8Product(Matrix.of(weight, scale), x.data_ptr(), out.data_ptr(), len(x), x.stride(0))
    functions().fulmen_int8_linear(ctypes.byref(product), torch.get_num_threads(), openmp())
    return out
