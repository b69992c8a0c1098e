"""Lightning attention of activated projections, and its gradient, by the native kernel.

Shapes: T tokens packed, S sequences, H heads, D head_dim, N chunks of all sequences.
"""

import ctypes
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from fulmen.kernels.native.abi import TYPES, LightningBackward, LightningForward, LightningInputs
from fulmen.kernels.native.loading import functions, openmp

CHUNK = 64
"""Tokens of a chunk; kTokens in lightning.cpp."""


def lightning_forward(
    qkv: Tensor, slopes: Tensor, state: Tensor, bounds: Sequence[int], *, keep: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Outputs [T, H, D] in qkv's dtype, final states, and if `keep` the states [N, H, D, D] before every chunk.

    qkv [T, H, 3 D] float32 or bfloat16, contiguous; slopes float32 [H]; state float32 [S, H, D, D]; bounds [S + 1]
    rises from 0 to T.
    """
    out = qkv.new_empty(*qkv.shape[:2], state.shape[-1])
    final = state.clone(memory_format=torch.contiguous_format)
    chunks = sum(-(-(end - start) // CHUNK) for start, end in pairwise(bounds))
    starts = state.new_empty(chunks, *state.shape[1:]) if keep else None
    limits = torch.tensor(bounds, device="cpu")
    run = LightningForward(_inputs(qkv, slopes, limits, starts), out.data_ptr(), final.data_ptr())
    functions().fulmen_lightning(ctypes.byref(run), torch.get_num_threads(), openmp())
    return out, final, starts


def lightning_backward(
    qkv: Tensor, slopes: Tensor, starts: Tensor, bounds: Sequence[int], d_out: Tensor, d_final: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of qkv and of the first states, given those of the outputs and of the final states."""
    d_qkv, d_out, limits = torch.empty_like(qkv), d_out.contiguous(), torch.tensor(bounds, device="cpu")
    d_state = d_final.clone(memory_format=torch.contiguous_format)
    pointers = [d_out.data_ptr(), *_parts(d_qkv), d_state.data_ptr()]
    run = LightningBackward(_inputs(qkv, slopes, limits, starts), *pointers)
    functions().fulmen_lightning_backward(ctypes.byref(run), torch.get_num_threads(), openmp())
    return d_qkv, d_state


def _inputs(qkv: Tensor, slopes: Tensor, bounds: Tensor, starts: Tensor | None) -> LightningInputs:
    _, heads, width = qkv.shape
    kept = None if starts is None else starts.data_ptr()
    sizes = (len(bounds) - 1, heads, width // 3, TYPES[qkv.dtype])
    return LightningInputs(*sizes, bounds.data_ptr(), slopes.data_ptr(), *_parts(qkv), *qkv.stride()[:2], kept)


def _parts(qkv: Tensor) -> list[int]:
    """Where q, k and v begin."""
    return [part.data_ptr() for part in qkv.split(qkv.shape[-1] // 3, dim=-1)]
