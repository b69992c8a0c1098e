"""Causal softmax attention with grouped queries: over a packed batch (training) and over pages of a cache (serving).

No mask or score matrix over a whole context is ever materialised. On CPUs sequences go through the native kernel
(`packed_attention`) where it runs, but for the few tokens of a decode step. Else through torch's flash kernel: new
tokens see each other causally and their past without a mask, and the two results are merged by the log-sum-exp that
the kernel returns. On CUDA in half precision the batch is one call of torch's varlen_attn.

Shapes: T tokens packed, L new tokens of one sequence, Hq query heads, Hkv key and value heads, G = Hq / Hkv,
D head_dim.
"""

from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn import functional

from fulmen.kernels import native
from fulmen.kernels.packed_attention import packed_attention

SHORT = 1024
"""Without the native kernel, CPUs attend to a bfloat16 sequence of fewer tokens in float32: for every new length below,
torch generates code for its bfloat16 products, which takes longer than they do."""
MANY = 32
"""From so many new tokens on the native kernel continues a past faster than torch's: a strip of its queries has 32, and
fewer take as long."""
MIN_PAGE_OF_VARLEN = 256
"""torch's flash kernel for CUDA reads pages of a multiple of this many tokens; smaller ones are gathered first."""


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Causal softmax attention within each packed sequence, scale 1 / sqrt(D). Differentiable.

    q [T, Hq, D]; k, v [T, Hkv, D]; cu_seqlens int64 [S + 1]. Returns [T, Hq, D].
    """
    bounds = cu_seqlens.tolist()
    if bounds[0] != 0 or bounds[-1] != len(q):
        raise ValueError(f"cu_seqlens must go from 0 to the number of tokens {len(q)}, got {bounds}")
    lengths = [end - start for start, end in pairwise(bounds)]
    if _has_varlen(q):
        return _varlen(q, k, v, lengths, lengths)
    if native.attends(q, k, v):
        return packed_attention(q, k, v, bounds)
    outs = [_causal(q[start:end], k[start:end], v[start:end]) for start, end in pairwise(bounds) if end > start]
    return outs[0] if len(outs) == 1 else torch.cat([q[:0], *outs])


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
    [S, P]; lengths, contexts: new tokens of each sequence and tokens before them. Returns [T, Hq, D] in q's dtype.
    """
    if sum(lengths) != len(q):
        raise ValueError(f"lengths {lengths} sum to {sum(lengths)}, but there are {len(q)} queries")
    totals = [length + context for length, context in zip(lengths, contexts, strict=True)]
    with torch.no_grad():
        if _has_varlen(q):
            return _paged_varlen(q, keys, values, block_table, lengths, totals)
        tables = block_table.tolist()
        out = torch.empty_like(q)
        for n, (start, end) in enumerate(pairwise(accumulate(lengths, initial=0))):
            if start == end:
                continue
            k, v = (_sequence(pages, tables[n], totals[n]).to(q.dtype) for pages in (keys, values))
            out[start:end] = _continued(q[start:end], k, v, contexts[n])
        return out


def _sequence(pages: Tensor, table: list[int], length: int) -> Tensor:
    """The first `length` entries of one sequence, [length, Hkv, D]: a view where its pages are neighbours."""
    table = table[: -(-length // pages.shape[1])]
    first = table[0]
    if table == list(range(first, first + len(table))):
        return pages[first : first + len(table)].flatten(0, 1)[:length]
    return pages[table].flatten(0, 1)[:length]


def _heads_first(x: Tensor) -> Tensor:
    """[L, heads, D] -> [1, heads, L, D], a view."""
    return x.transpose(0, 1)[None]


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One sequence without a past: q [L, Hq, D]; k, v [L, Hkv, D] -> [L, Hq, D]."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and len(q) < SHORT:
        with torch.autocast("cpu", enabled=False):
            return _causal(q.float(), k.float(), v.float()).to(q.dtype)
    grouped = q.shape[1] != k.shape[1]
    q, k, v = (_heads_first(x) for x in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)[0].transpose(0, 1)


def _continued(q: Tensor, keys: Tensor, values: Tensor, context: int) -> Tensor:
    """q [L, Hq, D] at positions context.. over keys, values [context + L, Hkv, D] -> [L, Hq, D]."""
    length, heads, dim = q.shape
    if (context == 0 or length >= MANY) and native.attends(q, keys, values):
        return native.packed_attention(q.contiguous(), keys, values, (0, length), (0, context + length))[0]
    if context == 0:
        return _causal(q, keys, values)
    kv_heads = keys.shape[1]
    if length == 1:
        # The queries of a group share their keys: they pass as G queries of one head. This is all of decoding.
        folded = q.view(1, kv_heads, -1, dim)  # [1, Hkv, G, D]
        out = functional.scaled_dot_product_attention(folded, _heads_first(keys), _heads_first(values))
        return out.view(1, heads, dim)
    if q.device.type != "cpu":
        from torch.nn.attention.bias import causal_lower_right

        mask = causal_lower_right(length, context + length)  # a description that kernels read, not a matrix
        k, v = (_heads_first(x.repeat_interleave(heads // kv_heads, dim=1)) for x in (keys, values))
        return functional.scaled_dot_product_attention(_heads_first(q), k, v, attn_mask=mask)[0].transpose(0, 1)
    return _merged(q, keys, values, context)


def _merged(q: Tensor, keys: Tensor, values: Tensor, context: int) -> Tensor:
    """As `_continued`, on the CPU: attention to the past and to the new tokens, merged by their log-sum-exp."""
    length, heads, dim = q.shape
    kv_heads = keys.shape[1]
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    folded = q.view(length, kv_heads, -1, dim).permute(1, 2, 0, 3).reshape(1, kv_heads, -1, dim)  # [1, Hkv, G L, D]
    past, past_sum = flash(folded, _heads_first(keys[:context]), _heads_first(values[:context]))
    past, past_sum = past.reshape(heads, length, dim), past_sum.reshape(heads, length, 1)
    k, v = (_heads_first(x[context:].repeat_interleave(heads // kv_heads, dim=1)) for x in (keys, values))
    new, new_sum = flash(_heads_first(q), k, v, is_causal=True)
    # softmax over both sets of keys: each part weighs as much as its share of the summed exponentials.
    share = torch.sigmoid(past_sum - new_sum.reshape(heads, length, 1)).to(q.dtype)  # [Hq, L, 1]
    return torch.lerp(new[0], past, share).transpose(0, 1)


def _has_varlen(q: Tensor) -> bool:
    """Whether torch's varlen_attn serves: CUDA, half precision."""
    return q.is_cuda and q.dtype in (torch.float16, torch.bfloat16)


def _varlen(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], totals: list[int]) -> Tensor:
    """All sequences in one kernel: `lengths` queries each, at the end of `totals` packed keys."""
    from torch.nn.attention.varlen import varlen_attn

    cu_q, cu_k = (
        torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device=q.device) for sizes in (lengths, totals)
    )
    grouped = q.shape[1] != k.shape[1]
    out = varlen_attn(
        q, k, v, cu_q, cu_k, max(lengths), max(totals), window_size=(-1, 0), enable_gqa=grouped
    )  # causal, aligned at the last key
    assert isinstance(out, Tensor)
    return out


def _paged_varlen(
    q: Tensor, keys: Tensor, values: Tensor, block_table: Tensor, lengths: tuple[int, ...], totals: list[int]
) -> Tensor:
    """All sequences in one kernel, over the pages themselves where their size allows."""
    if keys.shape[1] % MIN_PAGE_OF_VARLEN:
        length = torch.tensor(totals, device=q.device)[:, None]
        page_size = keys.shape[1]
        index = torch.arange(block_table.shape[1] * page_size, device=q.device)[None]
        rows = (block_table.repeat_interleave(page_size, dim=1) * page_size + index % page_size)[index < length]
        k, v = (pages.flatten(0, 1)[rows] for pages in (keys, values))  # [sum of totals, Hkv, D]
        return _varlen(q, k, v, list(lengths), totals)
    from torch.nn.attention.varlen import varlen_attn

    cu_q = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=q.device)
    used = torch.tensor(totals, dtype=torch.int32, device=q.device)
    out = varlen_attn(
        q,
        keys,
        values,
        cu_q,
        None,
        max(lengths),
        max(totals),
        window_size=(-1, 0),
        enable_gqa=q.shape[1] != keys.shape[2],
        seqused_k=used,
        block_table=block_table.to(torch.int32),
    )
    assert isinstance(out, Tensor)
    return out
