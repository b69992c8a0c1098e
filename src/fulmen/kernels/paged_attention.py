"""Causal softmax attention with grouped queries: over a packed batch (training) and over pages of a cache (serving).

Both go through torch's scaled_dot_product_attention, sequence by sequence, with no mask ever materialised: a chunk of
queries after a cached context sees its past in full and itself causally, and the two results are merged by their
log-sum-exp.

Shapes: T tokens packed, Hq query heads, Hkv key and value heads, G = Hq / Hkv, D head_dim.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Causal softmax attention within each packed sequence, scale 1 / sqrt(D). Differentiable.

    q [T, Hq, D]; k, v [T, Hkv, D]; cu_seqlens int64 [S + 1]. Returns [T, Hq, D].
    """
    outs = [
        _causal(q[start:end], k[start:end], v[start:end]) for start, end in pairwise(cu_seqlens.tolist()) if end > start
    ]
    return outs[0] if len(outs) == 1 else torch.cat(outs)


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One sequence without a past: q [L, Hq, D]; k, v [L, Hkv, D] -> [L, Hq, D]."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))  # [1, heads, L, D]
    out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
    return out[0].transpose(0, 1)


def paged_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    block_table: Tensor,
    lengths: tuple[int, ...],
    contexts: tuple[int, ...],
) -> Tensor:
    """Causal softmax attention over pages: token i of a sequence sees positions 0..context + i. No gradient.

    q [T, Hq, D]; keys, values [pages, page_size, Hkv, D] with the new tokens already written; block_table int64
    [S, P]; lengths, contexts: new tokens of each sequence and tokens before them. Returns [T, Hq, D].
    """
    out = torch.empty_like(q)
    start = 0
    for table, length, context in zip(block_table.tolist(), lengths, contexts, strict=True):
        sequence_keys, sequence_values = (_sequence(pages, table, context + length) for pages in (keys, values))
        part = _attend_chunk(q[start : start + length], sequence_keys, sequence_values, context)
        out[start : start + length] = part
        start += length
    return out


def _sequence(pages: Tensor, table: list[int], length: int) -> Tensor:
    """The first `length` entries of one sequence, [length, Hkv, D]: a view where its pages are neighbours."""
    page_size = pages.shape[1]
    table = table[: -(-length // page_size)]
    if table == list(range(table[0], table[0] + len(table))):
        return pages[table[0] : table[0] + len(table)].flatten(0, 1)[:length]
    return pages[table].flatten(0, 1)[:length]


def _attend_chunk(q: Tensor, keys: Tensor, values: Tensor, context: int) -> Tensor:
    """q [L, Hq, D] at positions context.. over keys, values [context + L, Hkv, D] -> [L, Hq, D]."""
    length, heads, dim = q.shape
    if length == 1:
        folded = q.view(1, keys.shape[1], -1, dim)  # [1, Hkv, G, D]
        k, v = (x.transpose(0, 1)[None] for x in (keys, values))  # [1, Hkv, context + 1, D]
        return functional.scaled_dot_product_attention(folded, k, v).view(1, heads, dim)
    if context == 0:
        return _causal(q, keys, values)
    mask = torch.ones(length, context + length, dtype=torch.bool, device=q.device).tril(context)
    q, keys, values = (x.transpose(0, 1)[None] for x in (q, keys, values))
    out = functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)
    return out[0].transpose(0, 1)
