"""Every kernel as the equation it computes: loops over tokens, plain tensor operations, no shortcut.

Read this first. The fast forms next to this file have the same signatures and are tested against these functions in
outputs, final states and gradients. Everything here is differentiable by autograd and follows its inputs' precision:
float64 in, float64 throughout; otherwise states, softmax and logits are float32.

Shapes: T tokens packed, S sequences, H heads, D head_dim, E experts, K experts per token, F inner width of an expert.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional


def compute_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64, else float32: what states and accumulations of a kernel are kept in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def lightning(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor | None = None, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence `S_t = exp(-slope) S_(t-1) + k_t^T v_t`, `o_t = q_t S_t`, token by token.

    q, k, v [T, H, D]; slopes [H]; state [S, H, D, D] or None (zeros); cu_seqlens int64 [S + 1] or None (one sequence).
    Returns out [T, H, D] in q's dtype and the final state [S, H, D, D].
    """
    dtype = compute_dtype(q)
    bounds = [0, len(q)] if cu_seqlens is None else cu_seqlens.tolist()
    heads, dim = q.shape[1:]
    if state is None:
        state = q.new_zeros(len(bounds) - 1, heads, dim, dim, dtype=dtype)
    decay = torch.exp(-slopes.to(dtype))[:, None, None]  # [H, 1, 1]
    outs, finals = [], []
    for sequence, (start, end) in enumerate(pairwise(bounds)):
        memory = state[sequence].to(dtype)  # [H, D, D]
        for t in range(start, end):
            memory = decay * memory + k[t].to(dtype)[:, :, None] * v[t].to(dtype)[:, None, :]
            outs.append((q[t].to(dtype)[:, None, :] @ memory)[:, 0])  # [H, D]
        finals.append(memory)
    out = torch.stack(outs).to(q.dtype) if outs else q.new_empty(q.shape)
    return out, torch.stack(finals)


def lightning_decode(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, states: Tensor, slots: Tensor) -> Tensor:
    """One step of the recurrence for each sequence: q, k, v [S, H, D]; states [slots, H, D, D], `slots` updated."""
    outs = []
    for row, slot in enumerate(slots.tolist()):
        out, final = lightning(q[row : row + 1], k[row : row + 1], v[row : row + 1], slopes, states[slot : slot + 1])
        states[slot] = final[0]
        outs.append(out[0])
    return torch.stack(outs)


def _attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query: q [Hq, D] over every one of keys, values [L, Hkv, D] -> [Hq, D]."""
    dtype = compute_dtype(q)
    group = q.shape[0] // keys.shape[1]
    keys, values = (x.to(dtype).repeat_interleave(group, dim=1) for x in (keys, values))  # [L, Hq, D]
    scores = (q.to(dtype) * keys).sum(-1) * q.shape[-1] ** -0.5  # [L, Hq]
    return (scores.softmax(dim=0)[:, :, None] * values).sum(0).to(q.dtype)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Causal softmax attention within each packed sequence, scale 1 / sqrt(D).

    q [T, Hq, D]; k, v [T, Hkv, D]; cu_seqlens int64 [S + 1]. Returns [T, Hq, D].
    """
    bounds = cu_seqlens.tolist()
    return torch.stack(
        [
            _attend(q[t], k[start : t + 1], v[start : t + 1])
            for start, end in pairwise(bounds)
            for t in range(start, end)
        ]
    )


def paged_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    block_table: Tensor,
    lengths: tuple[int, ...],
    contexts: tuple[int, ...],
) -> Tensor:
    """Causal softmax attention over pages: token i of a sequence sees positions 0..context + i.

    q [T, Hq, D]; keys, values [pages, page_size, Hkv, D] with the new tokens already written; block_table int64
    [S, P]; lengths, contexts: new tokens of each sequence and tokens before them. Returns [T, Hq, D].
    """
    outs, start = [], 0
    for table, length, context in zip(block_table, lengths, contexts, strict=True):
        sequence_keys = keys[table].flatten(0, 1)  # [P * page_size, Hkv, D]
        sequence_values = values[table].flatten(0, 1)
        for i in range(length):
            visible = context + i + 1
            outs.append(_attend(q[start + i], sequence_keys[:visible], sequence_values[:visible]))
        start += length
    return torch.stack(outs)


def grouped_experts(x: Tensor, expert_ids: Tensor, weights: Tensor, w13: Tensor, w2: Tensor) -> Tensor:
    """`sum_k weights_k * w2(silu(w1 x) * (w3 x))` with the matrices of expert k, token by token.

    x [T, hidden]; expert_ids int64 [T, K]; weights [T, K]; w13 [E, 2 F, hidden] (w1, then w3); w2 [E, hidden, F].
    """
    outs = []
    for token, experts, coefficients in zip(x, expert_ids.tolist(), weights, strict=True):
        total = torch.zeros_like(token, dtype=compute_dtype(x))
        for expert, coefficient in zip(experts, coefficients, strict=True):
            gate, up = (w13[expert] @ token).chunk(2)  # each [F]
            total = total + coefficient * (w2[expert] @ (functional.silu(gate) * up))
        outs.append(total.to(x.dtype))
    return torch.stack(outs)


def token_logprobs(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    num_live_tokens: int | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Log-probability of each target under the head's softmax: hidden [T, hidden], head_weight [V, hidden] -> [T].

    Only the first `num_live_tokens` rows of the head take part. `chunk` bounds memory in the fast form; unused here.
    """
    dtype = compute_dtype(hidden)
    logits = hidden.to(dtype) @ head_weight[:num_live_tokens].to(dtype).T  # [T, V]
    return logits.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0]
