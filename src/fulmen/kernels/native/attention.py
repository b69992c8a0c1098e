"""Causal softmax attention over packed sequences and its gradient, by the native kernel.

Shapes: T tokens packed, S sequences, Hq query heads, Hkv key and value heads, D head_dim.
"""

import ctypes
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from fulmen.kernels.native.abi import TYPES, PackedAttention, TokenHeads
from fulmen.kernels.native.loading import functions, openmp, takes


def attends(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the kernel runs here and takes such queries, keys and values."""
    return all(x.device == q.device and x.dtype == q.dtype for x in (k, v)) and takes(q, q.shape[-1])


def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds: Sequence[int],
    key_bounds: Sequence[int] | None = None,
    *,
    keep: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Causal attention, scale 1 / sqrt(D), in sequences from each of `bounds` [S + 1] to the next.

    q [T, Hq, D]; k, v [T, Hkv, D], all of one dtype. With `key_bounds` there may be more keys than queries, as many as
    it says: the queries are the last tokens of each sequence. Returns out [T, Hq, D] and, if `keep`, what the gradient
    needs: log2 of each query's sum of exponentials, float32 [T, Hq]. All sums are float32; for bfloat16, weights are
    rounded to bfloat16 on CPUs that multiply pairs of them, as torch does.
    """
    key_bounds = bounds if key_bounds is None else key_bounds
    _check(q, k, v, bounds, key_bounds)
    out = q.new_empty(q.shape)
    log_sums = q.new_empty(q.shape[:2], dtype=torch.float32) if keep else None
    attention, _memory = _describe(q, k, v, out, log_sums, bounds, key_bounds)
    functions().fulmen_packed_attention(ctypes.byref(attention), torch.get_num_threads(), openmp())
    return out, log_sums


def packed_attention_gradient(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, log_sums: Tensor, bounds: Sequence[int], d_out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, given that of `out`: what `packed_attention` took and returned, and d_out [T, Hq, D].

    A thread takes a sequence's head of keys at a time, so fewer of these than threads leave threads idle.
    """
    _check(q, k, v, bounds, bounds)
    for name, x in (("out", out), ("d_out", d_out)):
        if x.shape != q.shape or x.dtype != q.dtype:
            raise ValueError(f"{name} must be like q, {q.dtype} {list(q.shape)}, got {x.dtype} {list(x.shape)}")
    if log_sums.shape != q.shape[:2] or log_sums.dtype != torch.float32 or not log_sums.is_contiguous():
        raise ValueError(f"log_sums must be float32 {list(q.shape[:2])}, got {log_sums.dtype} {list(log_sums.shape)}")
    attention, _memory = _describe(q, k, v, out, log_sums, bounds, bounds)
    grads = tuple(x.new_empty(x.shape) for x in (q, k, v))
    attention.d_out = TokenHeads.of(d_out)
    attention.d_q, attention.d_k, attention.d_v = (TokenHeads.of(grad) for grad in grads)
    functions().fulmen_packed_attention_backward(ctypes.byref(attention), torch.get_num_threads(), openmp())
    return grads[0], grads[1], grads[2]


def _check(q: Tensor, k: Tensor, v: Tensor, bounds: Sequence[int], key_bounds: Sequence[int]) -> None:
    if not attends(q, k, v):
        raise ValueError(f"native attention takes no {q.dtype} {list(q.shape)} on {q.device} with {k.dtype}, {v.dtype}")
    heads, kv_heads = q.shape[1], k.shape[1]
    if k.shape != v.shape or k.shape[2] != q.shape[2] or not heads or not kv_heads or heads % kv_heads:
        raise ValueError(f"q {list(q.shape)}, k {list(k.shape)} and v {list(v.shape)} don't fit each other")
    for ends, tokens in ((bounds, len(q)), (key_bounds, len(k))):
        if ends[0] != 0 or ends[-1] != tokens or any(start > end for start, end in pairwise(ends)):
            raise ValueError(f"bounds must rise from 0 to the number of tokens {tokens}, got {list(ends)}")
    contexts = [keys - queries for queries, keys in zip(_lengths(bounds), _lengths(key_bounds), strict=True)]
    if min(contexts, default=0) < 0:
        raise ValueError(f"a sequence has fewer keys than queries: bounds {list(bounds)}, of keys {list(key_bounds)}")


def _lengths(bounds: Sequence[int]) -> list[int]:
    return [end - start for start, end in pairwise(bounds)]


def _describe(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sums: Tensor | None,
    bounds: Sequence[int],
    key_bounds: Sequence[int],
) -> tuple[PackedAttention, "tuple[ctypes.Array[ctypes.c_int64], ...]"]:
    """The call's arguments, and the memory of its bounds, which must outlive the call."""
    starts, key_starts = ((ctypes.c_int64 * len(ends))(*ends) for ends in (bounds, key_bounds))
    attention = PackedAttention(
        q=TokenHeads.of(q),
        k=TokenHeads.of(k),
        v=TokenHeads.of(v),
        out=TokenHeads.of(out),
        log_sums=None if log_sums is None else log_sums.data_ptr(),
        bounds=ctypes.addressof(starts),
        key_bounds=ctypes.addressof(key_starts),
        sequences=len(bounds) - 1,
        heads=q.shape[1],
        kv_heads=k.shape[1],
        dim=q.shape[2],
        type=TYPES[q.dtype],
    )
    return attention, (starts, key_starts)
