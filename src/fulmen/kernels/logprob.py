"""Log-probabilities of given tokens without the logits of all of them at once: float32 head, chunked over tokens.

The report (section 3.2) found a head in lower precision to break reinforcement learning; training and scoring come
through here.

Shapes: T tokens, V rows of the head that are live, n tokens of a chunk.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fulmen.kernels.autocast import without_autocast
from fulmen.kernels.reference import compute_dtype

CHUNK_ELEMENTS = {"cpu": 2**22, "cuda": 2**25}
"""Logits of one chunk by default: on CPUs few enough to stay in the caches, on a GPU enough to fill it."""
MIN_CHUNK = 64
"""Tokens of one chunk at least: with fewer the products would be bound by reading the head."""
KEPT_ELEMENTS = 2**27
"""Softmax numerators kept for the backward, 512 MB at most whatever T: each kept chunk saves one of four products."""


@without_autocast
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
    in `gradient_dtype` (default: float32), which changes no log-probability. What autocast says changes nothing.
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
    """Log-probabilities [T], softmax numerators of the first `keep` chunks, and each row's maximum and sum [2, T].

    The kept numerators of the targets themselves are 0.
    """
    dtype = compute_dtype(hidden)
    weight = head_weight[:live].to(dtype)
    logprobs, tops, totals = hidden.new_empty(3, len(hidden), dtype=dtype)
    kept: list[Tensor] = []
    scratch = weight.new_empty(min(chunk, len(hidden)), live)
    for n, start in enumerate(range(0, len(hidden), chunk)):
        part = slice(start, start + chunk)
        rows = hidden[part].to(dtype)
        stays = n < keep and kept_dtype == dtype
        logits = torch.mm(rows, weight.T, out=None if stays else scratch[: len(rows)])  # [n, V]
        top = logits.amax(dim=-1, keepdim=True)
        chosen = logits.gather(1, targets[part, None]) - top
        logits.sub_(top).exp_()
        total = logits.sum(dim=-1, keepdim=True)
        logprobs[part] = (chosen - total.log())[:, 0]
        tops[part], totals[part] = top[:, 0], total[:, 0]
        if n < keep:
            kept.append(_without_targets(logits, targets[part]).to(kept_dtype))
    return logprobs, kept, torch.stack((tops, totals))


def _without_targets(numerators: Tensor, targets: Tensor) -> Tensor:
    """Set each row's entry of its target to 0, in place: [n, V] and [n]."""
    places = torch.arange(len(targets), device=targets.device) * numerators.shape[1] + targets
    numerators.view(-1).index_fill_(0, places, 0)  # scatter_ would copy all of it
    return numerators


class _TokenLogprobs(torch.autograd.Function):
    """Keeps the softmax numerators of the first chunks within a fixed budget; the other chunks' are computed again.

    With g the gradient of a row's log-probability, e its numerators, z their sum and p the target's probability, its
    logits have the gradient -g e / z, but for the target's, which is g (1 - p). Rows are scaled where they are hidden
    states and not where they are as long as the vocabulary, and the target has a term of its own: 1 - p as a difference
    would be all rounding where p is near 1.
    """

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
    @without_autocast
    def backward(ctx: Any, d_logprobs: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head_weight, targets, logprobs, sums, *kept = ctx.saved_tensors
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        dtype = sums.dtype
        weight = head_weight[: ctx.live].to(dtype)
        narrow = weight.to(ctx.dtype)
        share = (d_logprobs / sums[1])[:, None]  # g / z [T, 1]
        of_target = (-torch.expm1(logprobs) * d_logprobs)[:, None]  # g (1 - p) [T, 1]
        d_hidden = weight.index_select(0, targets).mul_(of_target) if need_hidden else None
        d_weight = torch.zeros_like(head_weight, dtype=dtype) if need_weight else None
        for n, start in enumerate(range(0, len(hidden), ctx.chunk)):
            part = slice(start, start + ctx.chunk)
            rows = hidden[part].to(dtype)
            if n < len(kept):
                numerators = kept[n]  # [n, V]
            else:
                numerators = torch.mm(rows, weight.T).sub_(sums[0, part, None]).exp_()
                numerators = _without_targets(numerators, targets[part]).to(ctx.dtype)
            if d_hidden is not None:
                d_hidden[part] -= (numerators @ narrow) * share[part]
            if d_weight is not None:
                d_weight[: ctx.live] -= numerators.T @ (rows * share[part]).to(ctx.dtype)
        if d_weight is not None:
            d_weight += torch.ops.aten.embedding_dense_backward(
                hidden.to(dtype) * of_target, targets, len(d_weight), -1, scale_grad_by_freq=False
            )
        d_hidden = None if d_hidden is None else d_hidden.to(hidden.dtype)
        return d_hidden, None if d_weight is None else d_weight.to(head_weight.dtype), None, None, None, None
