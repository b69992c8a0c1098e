"""The divergence of two heads' distributions, for distillation: float32 logits of a chunk of tokens at a time.

Shapes: T tokens, V live rows of the heads, n tokens of a chunk.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fulmen.kernels.autocast import without_autocast
from fulmen.kernels.logprob import default_chunk
from fulmen.kernels.reference import compute_dtype


@without_autocast
def mean_divergence(
    hidden: Tensor,
    head_weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    *,
    num_live_tokens: int | None = None,
    chunk: int | None = None,
) -> Tensor:
    """`1/T sum_t KL(teacher_t || student_t)` in nats: a scalar in float32 (float64 for float64 inputs).

    hidden [T, hidden] and head_weight [vocab, hidden] of the student, and the same of the teacher, whose hidden size
    may differ; rows of both heads from `num_live_tokens` up are padding and take no part. Differentiable once in hidden
    and head_weight: the gradient is computed along with the value, so that no logits are kept or computed twice.
    """
    if len(hidden) != len(teacher_hidden) or not len(hidden):
        raise ValueError(f"{len(hidden)} tokens of the student against {len(teacher_hidden)} of the teacher")
    live = len(head_weight) if num_live_tokens is None else num_live_tokens
    if live > min(len(head_weight), len(teacher_weight)):
        raise ValueError(f"heads of {len(head_weight)} and {len(teacher_weight)} rows have no {live} live tokens")
    chunk = chunk or default_chunk(hidden, live)
    return _MeanDivergence.apply(hidden, head_weight, teacher_hidden.detach(), teacher_weight.detach(), live, chunk)


class _MeanDivergence(torch.autograd.Function):
    """d KL / d logits is `student - teacher` in probabilities."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, teacher_hidden: Tensor, teacher_head: Tensor, live: int, chunk: int
    ) -> Tensor:
        dtype = compute_dtype(hidden)
        weight, teacher_weight = head[:live].to(dtype), teacher_head[:live].to(dtype)
        total = hidden.new_zeros((), dtype=dtype)
        d_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        d_head = torch.zeros_like(head, dtype=dtype) if ctx.needs_input_grad[1] else None
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            rows = hidden[part].to(dtype)  # [n, hidden]
            student = (rows @ weight.T).log_softmax(dim=-1)  # [n, V]
            teacher = (teacher_hidden[part].to(dtype) @ teacher_weight.T).log_softmax(dim=-1)  # [n, V]
            probability = teacher.exp()
            total += (probability * teacher.sub_(student)).sum()
            if d_hidden is None and d_head is None:
                continue
            d_logits = student.exp_().sub_(probability).div_(len(hidden))  # [n, V]
            if d_hidden is not None:
                d_hidden[part] = d_logits @ weight
            if d_head is not None:
                d_head[:live].addmm_(d_logits.T, rows)
        ctx.save_for_backward(d_hidden, None if d_head is None else d_head.to(head.dtype))
        return total / len(hidden)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_mean: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_head = (None if grad is None else grad * d_mean.to(grad.dtype) for grad in ctx.saved_tensors)
        return d_hidden, d_head, None, None, None, None
