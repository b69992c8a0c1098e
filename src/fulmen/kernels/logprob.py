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

CHUNK_ELEMENTS = {"cpu": 2**22, "cuda": 2**25}
"""Logits of one chunk by default: on CPUs few enough to stay in the caches, on a GPU enough to fill it."""
MIN_CHUNK = 64
"""Tokens of one chunk at least: with fewer the products would be bound by reading the head."""
KEPT_ELEMENTS = 2**27
"""Softmax numerators kept for the backward, 512 MB at most whatever T: each kept chunk saves one of four products."""


def token_logprobs(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    num_live_tokens: int | None = None,
    chunk: int | None = None,
    gradient_dtype: torch.dtype | None = None,
) -> Tensor:
    """Log-probability of each target under the head's softmax, float32 [T] (float64 for float64 inputs).

    hidden [T, hidden]; head_weight [vocab, hidden]; targets int64 [T], below `num_live_tokens` (default: vocab); rows
    of the head from there up are padding and take no part. `chunk` tokens are scored at a time (default: by
    `CHUNK_ELEMENTS`). Differentiable once in hidden and head_weight; the two products of the backward take their inputs
    in `gradient_dtype` (default: float32), which changes no log-probability.
    """
    num_live_tokens = len(head_weight) if num_live_tokens is None else num_live_tokens
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < num_live_tokens:
        raise ValueError(
            f"targets span {int(targets.min())}..{int(targets.max())}, live tokens 0..{num_live_tokens - 1}"
        )
    chunk = chunk or default_chunk(hidden, num_live_tokens)
    if torch.is_grad_enabled() and (hidden.requires_grad or head_weight.requires_grad):
        gradient_dtype = gradient_dtype or compute_dtype(hidden)
        return _TokenLogprobs.apply(hidden, head_weight, targets, num_live_tokens, chunk, gradient_dtype)
    return _forward(hidden, head_weight, targets, num_live_tokens, chunk, 0, compute_dtype(hidden))[0]


def default_chunk(hidden: Tensor, live: int) -> int:
    """Tokens whose logits over `live` rows of the head are held at once, on hidden's device."""
    return max(MIN_CHUNK, CHUNK_ELEMENTS[hidden.device.type] // live)


def _forward(
    hidden: Tensor, head_weight: Tensor, targets: Tensor, live: int, chunk: int, keep: int, kept_dtype: torch.dtype
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Log-probabilities [T], softmax numerators of the first `keep` chunks, and each row's maximum and sum [2, T]."""
    dtype = compute_dtype(hidden)
    weight = head_weight[:live].to(dtype)
    logprobs, tops, totals = hidden.new_empty(3, len(hidden), dtype=dtype)
    kept: list[Tensor] = []
    scratch = weight.new_empty(min(chunk, len(hidden)), live)
    for n, start in enumerate(range(0, len(hidden), chunk)):
        part = slice(start, start + chunk)
        rows = hidden[part].to(dtype)
        logits = torch.mm(rows, weight.T, out=scratch[: len(rows)])  # [n, V]
        top = logits.amax(dim=-1, keepdim=True)
        chosen = logits.gather(1, targets[part, None]) - top
        logits.sub_(top).exp_()
        total = logits.sum(dim=-1, keepdim=True)
        logprobs[part] = (chosen - total.log())[:, 0]
        tops[part], totals[part] = top[:, 0], total[:, 0]
        if n < keep:
            kept.append(logits.to(kept_dtype, copy=True))
    return logprobs, kept, torch.stack((tops, totals))


class _TokenLogprobs(torch.autograd.Function):
    """Keeps the softmax numerators of the first chunks within a fixed budget; the other chunks' are computed again."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head_weight: Tensor, targets: Tensor, live: int, chunk: int, dtype: torch.dtype
    ) -> Tensor:
        keep = KEPT_ELEMENTS // (live * chunk)
        logprobs, kept, sums = _forward(hidden, head_weight, targets, live, chunk, keep, dtype)
        ctx.save_for_backward(hidden, head_weight, targets, logprobs, sums, *kept)
        ctx.live, ctx.chunk, ctx.dtype = live, chunk, dtype
        return logprobs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_logprobs: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head_weight, targets, logprobs, sums, *kept = ctx.saved_tensors
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        weight = head_weight[: ctx.live].to(sums.dtype)
        narrow = weight.to(ctx.dtype)
        d_hidden = torch.empty_like(hidden) if need_hidden else None
        d_weight = torch.zeros_like(head_weight, dtype=weight.dtype) if need_weight else None
        for n, start in enumerate(range(0, len(hidden), ctx.chunk)):
            part = slice(start, start + ctx.chunk)
            rows, grad = hidden[part].to(weight.dtype), d_logprobs[part, None]
            top, total = sums[:, part, None]
            if n < len(kept):  # d_logits [n, V]: (target - probability) * gradient
                d_logits = kept[n] * (-grad / total).to(ctx.dtype)
            else:
                d_logits = torch.mm(rows, weight.T).sub_(top).exp_().mul_(-grad / total).to(ctx.dtype)
            # Not 1 - probability, which would be all rounding where the probability is near 1.
            of_targets = -torch.expm1(logprobs[part, None]) * grad
            places = torch.arange(len(rows), device=rows.device) * ctx.live + targets[part]
            d_logits.view(-1).index_copy_(0, places, of_targets[:, 0].to(ctx.dtype))  # scatter_ would copy all of it
            if d_hidden is not None:
                d_hidden[part] = d_logits @ narrow
            if d_weight is not None:
                d_weight[: ctx.live] += d_logits.T @ rows.to(ctx.dtype)
        return d_hidden, None if d_weight is None else d_weight.to(head_weight.dtype), None, None, None, None
