"""Lightning attention in chunks (first form; single loop over chunks, autograd)."""

from itertools import pairwise

import torch
from torch import Tensor

from fulmen.kernels.reference import compute_dtype

CHUNK = 64


def lightning_chunk(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor | None = None, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `dispatch.lightning`."""
    dtype = compute_dtype(q)
    bounds = [0, len(q)] if cu_seqlens is None else cu_seqlens.tolist()
    heads, dim = q.shape[1:]
    if state is None:
        state = q.new_zeros(len(bounds) - 1, heads, dim, dim, dtype=dtype)
    slope = slopes.to(dtype)[:, None, None]
    index = torch.arange(CHUNK, device=q.device)
    distance = index[:, None] - index
    mask = torch.exp(-slope * distance.clamp(min=0)).masked_fill(distance < 0, 0)
    outs, finals = [], []
    for sequence, (start, end) in enumerate(pairwise(bounds)):
        memory = state[sequence]
        for first in range(start, end, CHUNK):
            n = min(CHUNK, end - first)
            qc, kc, vc = (x[first : first + n].transpose(0, 1).to(dtype) for x in (q, k, v))
            scores = qc @ kc.transpose(1, 2) * mask[:, :n, :n]
            outs.append((scores @ vc + qc * torch.exp(-slope * (index[:n, None] + 1)) @ memory).transpose(0, 1))
            late = kc * torch.exp(-slope * (n - 1 - index[:n, None]))
            memory = torch.exp(-slope * n) * memory + late.transpose(1, 2) @ vc
        finals.append(memory)
    return torch.cat(outs).to(q.dtype), torch.stack(finals)
