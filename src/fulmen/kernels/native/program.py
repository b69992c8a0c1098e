"""Assembles operations into a native program, and runs it on a batch.

A program knows no model: it is a list of operations on numbered buffers, one row per token, with pointers to
weights. It keeps the tensors alive whose memory it points into.
"""

import ctypes
from collections.abc import Sequence
from typing import NewType

import torch
from torch import Tensor

from fulmen.kernels.native.abi import TYPES, Kind, Matrix, Operation, Shape, Step
from fulmen.kernels.native.loading import functions

Buffer = NewType("Buffer", int)
NONE = Buffer(-1)


class ProgramBuilder:
    """Collects buffers and operations; `finish` makes the program.

    Example: a head on top of an embedding::

        builder = ProgramBuilder()
        x = builder.buffer("x", 64)
        builder.add(Kind.EMBED, output=x, weight=Matrix.of(embedding))
        builder.add(Kind.HEAD, input=x, weight=Matrix.of(head))
        program = builder.finish(Shape(heads=1, kv_heads=1, head_dim=64, vocab=100, live_vocab=100), frequencies)
    """

    def __init__(self) -> None:
        self._buffers: dict[str, tuple[Buffer, int, int]] = {}
        self._operations: list[Operation] = []

    def buffer(self, name: str, width: int, rows_per_token: int = 1) -> Buffer:
        """A buffer of `width` floats for each row; the same name gives the same buffer, made wide enough for all."""
        number, widest, rows = self._buffers.get(name, (Buffer(len(self._buffers)), 0, 0))
        self._buffers[name] = (number, max(width, widest), max(rows_per_token, rows))
        return number

    def add(
        self,
        kind: Kind,
        *,
        input: Buffer = NONE,
        aux: Buffer = NONE,
        other: Buffer = NONE,
        output: Buffer = NONE,
        weight: Matrix | None = None,
        bias: Matrix | None = None,
        layer: int = 0,
        silu: bool = False,
        joined: bool = False,
        alpha: float = 1.0,
        beta: float = 1.0,
        eps: float = 0.0,
    ) -> None:
        """Append one operation; program.h says what each kind reads and writes.

        `joined`: the next operation reads nothing that this one writes, so threads need not meet before it.
        """
        weight, bias = weight or Matrix(), bias or Matrix()
        self._operations.append(
            Operation(
                kind, input, aux, other, output, layer, int(silu), int(joined), weight, bias, alpha, beta, eps, 0.0
            )
        )

    def finish(self, shape: Shape, frequencies: Tensor) -> "Program":
        """frequencies float32 [rotary_half]: radians per position of each pair of rotated dimensions."""
        return Program(self._operations, [(w, rows) for _, w, rows in self._buffers.values()], shape, frequencies)


class Program:
    """A finished program with its work memory. Calls from several threads run one after the other."""

    def __init__(
        self, operations: Sequence[Operation], buffers: Sequence[tuple[int, int]], shape: Shape, frequencies: Tensor
    ) -> None:
        frequencies = frequencies.to(torch.float32).contiguous()
        shape.frequencies = frequencies.data_ptr()  # copied by the constructor
        shape.rotary_half = len(frequencies)
        self.vocab_size = shape.vocab
        self._functions = functions()
        self._handle = self._functions.fulmen_program(
            (Operation * len(operations))(*operations),
            len(operations),
            (ctypes.c_int64 * len(buffers))(*(width for width, _ in buffers)),
            (ctypes.c_int64 * len(buffers))(*(rows for _, rows in buffers)),
            len(buffers),
            ctypes.byref(shape),
        )

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._functions.fulmen_free(self._handle)

    def run(
        self,
        *,
        tokens: Tensor,
        positions: Tensor,
        cu_seqlens: Tensor,
        slots: Tensor | None,
        block_table: Tensor | None,
        wanted: Tensor,
        keys: Tensor,
        values: Tensor,
        states: Tensor,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """One forward pass; keys, values and states are updated in place.

        tokens, positions int64 [T]; cu_seqlens int64 [S + 1]; slots int64 [S]; block_table int64 [S, P]; wanted int64
        [n]: rows whose logits to compute; keys, values [layers, pages, page_size, Hkv, D] float32 or bfloat16; states
        [layers, slots, H, D, D] float32; hidden float32 [T, hidden], filled if given. Returns float32 [n, vocab].
        Raises ValueError if the batch doesn't fit the cache or the vocabulary.
        """
        logits = torch.empty(len(wanted), self.vocab_size)
        inputs = [x if x is None else _int64(x) for x in (tokens, positions, cu_seqlens, slots, block_table, wanted)]
        for memory in (keys, values, states):
            if not memory.is_contiguous():
                raise ValueError(f"the native step needs a contiguous cache, got strides {memory.stride()}")
        step = Step(
            torch.get_num_threads(),
            len(tokens),
            len(cu_seqlens) - 1,
            len(wanted),
            0 if block_table is None else block_table.shape[1],
            *(None if x is None else x.data_ptr() for x in inputs),
            logits.data_ptr(),
            None if hidden is None else hidden.data_ptr(),
            *(x.data_ptr() if x.numel() else None for x in (keys, values, states)),
            keys.shape[1],
            keys.shape[2],
            states.shape[1],
            TYPES[keys.dtype],
        )
        error = self._functions.fulmen_run(self._handle, ctypes.byref(step))
        if error is not None:
            raise ValueError(error.decode())
        return logits


def _int64(x: Tensor) -> Tensor:
    if x.dtype != torch.int64:
        raise ValueError(f"token ids, positions, slots and pages must be int64, got {x.dtype}")
    return x.contiguous()
