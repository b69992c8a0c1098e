"""The binary interface to the C++ code: program.h, field by field, for ctypes."""

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_float, c_int64, c_void_p
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor


class Kind(IntEnum):
    """What an operation computes; program.h says it exactly."""

    EMBED = 0
    NORM = 1
    LINEAR = 2
    GATED = 3
    LIGHTNING = 4
    GATED_NORM = 5
    ROTARY = 6
    ATTENTION = 7
    ROUTER = 8
    SHARE = 9
    EXPERTS_IN = 10
    EXPERTS_OUT = 11
    COMBINE = 12
    HEAD = 13


TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}


class Matrix(Structure):
    """Row-major [rows, cols]; int8 has one float32 scale per row."""

    _fields_ = [
        ("data", c_void_p),
        ("scale", c_void_p),
        ("rows", c_int64),
        ("cols", c_int64),
        ("type", c_int64),
    ]

    @classmethod
    def of(cls, weight: Tensor, scale: Tensor | None = None) -> "Matrix":
        """A view of weight [..., rows, cols] or [cols]: leading dimensions are folded into the rows."""
        if weight.dtype not in TYPES:
            raise ValueError(f"the native step knows no {weight.dtype} weights: float32, bfloat16 and int8 only")
        if not weight.is_contiguous() or (scale is not None and not scale.is_contiguous()):
            raise ValueError(f"the native step needs contiguous weights, got strides {weight.stride()}")
        if (weight.dtype == torch.int8) != (scale is not None):
            raise ValueError("int8 weights need scales, others must not have any")
        cols = weight.shape[-1]
        rows = weight.numel() // cols
        if scale is not None and (scale.dtype != torch.float32 or scale.numel() != rows):
            raise ValueError(f"scales must be float32, one for each of {rows} rows, got {scale.dtype} {scale.shape}")
        pointer = None if scale is None else scale.data_ptr()
        return cls(weight.data_ptr(), pointer, rows, cols, TYPES[weight.dtype])


class Operation(Structure):
    """One step of a program; buffers are numbered from 0, -1 stands for none."""

    _fields_ = [
        ("kind", c_int64),
        ("input", c_int64),
        ("aux", c_int64),
        ("other", c_int64),
        ("output", c_int64),
        ("layer", c_int64),
        ("silu", c_int64),
        ("joined", c_int64),
        ("weight", Matrix),
        ("bias", Matrix),
        ("alpha", c_float),
        ("beta", c_float),
        ("eps", c_float),
        ("unused", c_float),
    ]


class Shape(Structure):
    """The sizes that all operations of a program share."""

    _fields_ = [
        ("heads", c_int64),
        ("kv_heads", c_int64),
        ("head_dim", c_int64),
        ("rotary_half", c_int64),
        ("experts", c_int64),
        ("experts_per_token", c_int64),
        ("vocab", c_int64),
        ("live_vocab", c_int64),
        ("frequencies", c_void_p),
    ]


class Step(Structure):
    """The batch and the memory that one call works on."""

    _fields_ = [
        *((name, c_int64) for name in ("threads", "num_tokens", "num_sequences", "num_wanted", "table_width")),
        *((name, c_void_p) for name in ("tokens", "positions", "starts", "slots", "block_table", "wanted")),
        *((name, c_void_p) for name in ("logits", "hidden", "keys", "values", "states")),
        *((name, c_int64) for name in ("num_pages", "page_size", "num_slots", "cache_type")),
    ]


class Int8Product(Structure):
    """x float32 [tokens, cols], rows x_stride elements apart, by an int8 matrix, into out float32 [tokens, rows]."""

    _fields_ = [
        ("matrix", Matrix),
        *((name, c_void_p) for name in ("x", "out")),
        *((name, c_int64) for name in ("tokens", "x_stride")),
    ]


class LightningInputs(Structure):
    """What forward and backward of lightning attention read; lightning.cpp says it exactly."""

    _fields_ = [
        *((name, c_int64) for name in ("sequences", "heads", "dim", "type")),
        *((name, c_void_p) for name in ("bounds", "slopes", "q", "k", "v")),
        *((name, c_int64) for name in ("token_stride", "head_stride")),
        ("starts", c_void_p),
    ]


class LightningForward(Structure):
    """The outputs, and the states that are continued."""

    _fields_ = [("inputs", LightningInputs), *((name, c_void_p) for name in ("out", "state"))]


class LightningBackward(Structure):
    """Gradients of the outputs, those of the inputs, and those of the states."""

    _fields_ = [
        ("inputs", LightningInputs),
        *((name, c_void_p) for name in ("d_out", "d_q", "d_k", "d_v", "d_state")),
    ]


class Norm(Structure):
    """Rows to normalize, and their scales; norm.cpp says it exactly."""

    _fields_ = [
        *((name, c_int64) for name in ("rows", "width")),
        *((name, c_void_p) for name in ("x", "weight", "scale")),
        ("eps", c_float),
    ]


class Gate(Structure):
    """Rows of gate and up, and what becomes of them; gate.cpp says it exactly."""

    _fields_ = [
        *((name, c_int64) for name in ("rows", "width", "type")),
        *((name, c_void_p) for name in ("inner", "active")),
    ]


class GateBackward(Structure):
    """Gradients of the rows and of their coefficients."""

    _fields_ = [
        ("gate", Gate),
        *((name, c_void_p) for name in ("d_active", "coefficient", "d_inner", "d_coefficient")),
    ]


class TokenHeads(Structure):
    """Elements [tokens, heads, dim] of a tensor: strides of tokens and heads, dimensions lie side by side."""

    _fields_ = [("data", c_void_p), ("token", c_int64), ("head", c_int64)]

    @classmethod
    def of(cls, x: Tensor) -> "TokenHeads":
        """A view of x [T, heads, D]."""
        if x.dim() != 3 or x.stride(2) != 1 or x.device.type != "cpu":
            raise ValueError(
                f"native attention needs [tokens, heads, dim] on the CPU, dimensions side by side, "
                f"got {list(x.shape)} with strides {x.stride()} on {x.device}"
            )
        return cls(x.data_ptr(), x.stride(0), x.stride(1))


class PackedAttention(Structure):
    """Causal attention over packed sequences, and its gradient; packed_attention.h says it exactly."""

    _fields_ = [
        *((name, TokenHeads) for name in ("q", "k", "v", "out")),
        *((name, TokenHeads) for name in ("d_out", "d_q", "d_k", "d_v")),
        *((name, c_void_p) for name in ("log_sums", "bounds", "key_bounds")),
        *((name, c_int64) for name in ("sequences", "heads", "kv_heads", "dim", "type")),
    ]


def bind(path: str) -> Any:
    """Load the built library and declare its functions. Calls release the interpreter lock."""
    library = ctypes.CDLL(path)
    library.fulmen_program.restype = c_void_p
    library.fulmen_program.argtypes = [
        POINTER(Operation),
        c_int64,
        POINTER(c_int64),
        POINTER(c_int64),
        c_int64,
        POINTER(Shape),
    ]
    library.fulmen_run.restype = c_char_p
    library.fulmen_run.argtypes = [c_void_p, POINTER(Step)]
    library.fulmen_free.restype = None
    library.fulmen_free.argtypes = [c_void_p]
    library.fulmen_int8_columns.restype = c_int64
    library.fulmen_int8_columns.argtypes = []
    library.fulmen_int8_linear.restype = None
    library.fulmen_int8_linear.argtypes = [POINTER(Int8Product), c_int64, c_void_p]
    library.fulmen_lightning.restype = None
    library.fulmen_lightning.argtypes = [POINTER(LightningForward), c_int64, c_void_p]
    library.fulmen_lightning_backward.restype = None
    library.fulmen_lightning_backward.argtypes = [POINTER(LightningBackward), c_int64, c_void_p]
    library.fulmen_norm.restype = None
    library.fulmen_norm.argtypes = [POINTER(Norm), c_void_p, c_int64, c_void_p]
    library.fulmen_norm_backward.restype = None
    library.fulmen_norm_backward.argtypes = [POINTER(Norm), c_void_p, c_void_p, c_void_p, c_int64, c_void_p]
    library.fulmen_gate.restype = None
    library.fulmen_gate.argtypes = [POINTER(Gate), c_int64, c_void_p]
    library.fulmen_gate_backward.restype = None
    library.fulmen_gate_backward.argtypes = [POINTER(GateBackward), c_int64, c_void_p]
    for function in (library.fulmen_packed_attention, library.fulmen_packed_attention_backward):
        function.restype = None
        function.argtypes = [POINTER(PackedAttention), c_int64, c_void_p]
    return library
