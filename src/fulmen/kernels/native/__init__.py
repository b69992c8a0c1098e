"""Native kernels for CPUs: a whole decode step in one call, without an interpreter or a dispatcher in between, and the
parts of longer passes that torch computes far below what the CPU can.

C++ with a plain C interface, compiled on first use by `build` and bound by `abi`; `program` assembles operations
into a program and runs it. Where nothing can be compiled, everything falls back to torch, and one warning says what
to install.
"""

from fulmen.kernels.native.abi import Kind, Matrix, Shape
from fulmen.kernels.native.attention import attends, packed_attention, packed_attention_gradient
from fulmen.kernels.native.gate import gate_backward, gate_forward
from fulmen.kernels.native.lightning import lightning_backward, lightning_forward
from fulmen.kernels.native.loading import available, takes, unavailable_reason
from fulmen.kernels.native.norm import norm_backward, norm_forward
from fulmen.kernels.native.products import int8_columns, int8_product
from fulmen.kernels.native.program import Buffer, Program, ProgramBuilder

__all__ = [
    "Buffer",
    "Kind",
    "Matrix",
    "Program",
    "ProgramBuilder",
    "Shape",
    "attends",
    "available",
    "gate_backward",
    "gate_forward",
    "int8_columns",
    "int8_product",
    "lightning_backward",
    "lightning_forward",
    "norm_backward",
    "norm_forward",
    "packed_attention",
    "packed_attention_gradient",
    "takes",
    "unavailable_reason",
]
