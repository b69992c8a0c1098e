"""Log-probabilities of given tokens without the logits of all of them at once: float32 head, chunked over tokens.

The report (section 3.2) found a head in lower precision to break reinforcement learning; training and scoring come
through here.
"""

import torch
from torch import Tensor

from fulmen.kernels.reference import compute_dtype


def token_logprobs(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    num_live_tokens: int | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Log-probability of each target under the head's softmax, float32 [T].

    hidden [T, hidden]; head_weight [V, hidden]; targets int64 [T], below `num_live_tokens` (default V): rows from
    there up are padding of the vocabulary and take no part. `chunk` tokens are scored at a time (default: 64 MB of
    logits). Differentiable in hidden and head_weight.
    """
    dtype = compute_dtype(hidden)
    weight = head_weight[:num_live_tokens].to(dtype)
    chunk = chunk or max(1, 2**24 // len(weight))
    parts = []
    for rows, ids in zip(hidden.split(chunk), targets.split(chunk), strict=True):
        logits = rows.to(dtype) @ weight.T
        parts.append(logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(dim=-1))
    return torch.cat(parts)
