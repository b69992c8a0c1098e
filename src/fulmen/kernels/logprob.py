"""Log-probabilities of given tokens without the logits of all of them at once: float32 head, chunked over tokens.

The report (section 3.2) found a head in lower precision to break reinforcement learning; training and scoring come
through here.

Shapes: T tokens, V rows of the head that are live, n tokens of a chunk.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fulmen.kernels.reference import compute_dtype

CHUNK_ELEMENTS = 2**23
"""Logits of one chunk by default: 32 MB in float32, 262 tokens of a vocabulary of 32,000."""
KEPT_ELEMENTS = 2**27
"""Softmax numerators kept for the backward, 512 MB at most whatever T: each kept chunk saves one of four products."""


def token_logprobs(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    num_live_tokens: int | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Log-probability of each target under the head's softmax, float32 [T] (float64 for float64 inputs).

    hidden [T, hidden]; head_weight [vocab, hidden]; targets int64 [T], below `num_live_tokens` (default: vocab); rows
    of the head from there up are padding and take no part. `chunk` tokens are scored at a time (default: 32 MB of
    logits). Differentiable once in hidden and head_weight.
    """
    num_live_tokens = len(head_weight) if num_live_tokens is None else num_live_tokens
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < num_live_tokens:
        raise ValueError(
            f"targets span {int(targets.min())}..{int(targets.max())}, live tokens 0..{num_live_tokens - 1}"
        )
    chunk = chunk or max(1, CHUNK_ELEMENTS // num_live_tokens)
    if torch.is_grad_enabled() and (hidden.requires_grad or head_weight.requires_grad):
        return _TokenLogprobs.apply(hidden, head_weight, targets, num_live_tokens, chunk)
    return _forward(hidden, head_weight, targets, num_live_tokens, chunk, 0)[0]


def _forward(
    hidden: Tensor, head_weight: Tensor, targets: Tensor, live: int, chunk: int, keep: int
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Log-probabilities [T], softmax numerators of the first `keep` chunks, and each row's maximum and sum [2, T]."""
    dtype = compute_dtype(hidden)
    weight = head_weight[:live].to(dtype)
    logprobs, tops, totals = hidden.new_empty(3, len(hidden), dtype=dtype)
    kept: list[Tensor] = []
    scratch = weight.new_empty(min(chunk, len(hidden)), live) if keep * chunk < len(hidden) else None
    for n, start in enumerate(range(0, len(hidden), chunk)):
        part = slice(start, start + chunk)
        rows = hidden[part].to(dtype)
        out = None if n < keep or scratch is None else scratch[: len(rows)]
        logits = torch.mm(rows, weight.T, out=out)  # [n, V]
        top = logits.amax(dim=-1, keepdim=True)
        chosen = logits.gather(1, targets[part, None]) - top
        logits.sub_(top).exp_()
        total = logits.sum(dim=-1, keepdim=True)
        logprobs[part] = (chosen - total.log())[:, 0]
        tops[part], totals[part] = top[:, 0], total[:, 0]
        if n < keep:
            kept.append(logits)
    return logprobs, kept, torch.stack((tops, totals))


class _TokenLogprobs(torch.autograd.Function):
    """Keeps the softmax numerators of the first chunks within a fixed budget; the other chunks' are computed again."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head_weight: Tensor, targets: Tensor, live: int, chunk: int) -> Tensor:
        logprobs, kept, sums = _forward(hidden, head_weight, targets, live, chunk, KEPT_ELEMENTS // (live * chunk))
        ctx.save_for_backward(hidden, head_weight, targets, sums, *kept)
        ctx.live, ctx.chunk = live, chunk
        return logprobs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_logprobs: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head_weight, targets, sums, *kept = ctx.saved_tensors
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        weight = head_weight[: ctx.live].to(sums.dtype)
        d_hidden = torch.empty_like(hidden) if need_hidden else None
        d_weight = torch.zeros_like(head_weight, dtype=weight.dtype) if need_weight else None
        scratch = weight.new_empty(min(ctx.chunk, len(hidden)), ctx.live)
        for n, start in enumerate(range(0, len(hidden), ctx.chunk)):
            part = slice(start, start + ctx.chunk)
            rows, grad = hidden[part].to(weight.dtype), d_logprobs[part, None]
            top, total = sums[:, part, None]
            d_logits = scratch[: len(rows)]  # [n, V]: (target - probability) * gradient
            if n < len(kept):
                torch.mul(kept[n], -grad / total, out=d_logits)
            else:
                torch.mm(rows, weight.T, out=d_logits)
                d_logits.sub_(top).exp_().mul_(-grad / total)
            d_logits.scatter_add_(1, targets[part, None], grad)
            if d_hidden is not None:
                d_hidden[part] = d_logits @ weight
            if d_weight is not None:
                d_weight[: ctx.live].addmm_(d_logits.T, rows)
        return d_hidden, None if d_weight is None else d_weight.to(head_weight.dtype), None, None, None
