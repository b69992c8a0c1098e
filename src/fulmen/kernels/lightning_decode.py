"""One token of lightning attention for each sequence: the recurrence itself, states updated in place.

The path of decoding, and of sequences of length 1 within a mixed batch.
"""

import torch
from torch import Tensor


def recurrent_step(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor) -> Tensor:
    """Advance `state` [S, H, D, D] in place by one token each, q, k, v [S, H, D], and read it: out [S, H, D]."""
    decay = torch.exp(-slopes.to(state.dtype))
    state.mul_(decay[:, None, None])
    state.addcmul_(k.to(state.dtype)[..., :, None], v.to(state.dtype)[..., None, :])
    return (q.to(state.dtype)[..., None, :] @ state).squeeze(-2).to(q.dtype)


@torch.no_grad()
def lightning_decode(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, states: Tensor, slots: Tensor) -> Tensor:
    """One token per sequence: `S = exp(-slope) S + k^T v`, `out = q S`.

    q, k, v [S, H, D]; slopes [H]; states [slots, H, D, D] float32, rows `slots` (int64 [S], distinct) updated in
    place. Returns [S, H, D] in q's dtype. No gradient.
    """
    if slots.device.type == "cpu":
        first, last = int(slots[0]), int(slots[-1])
        if last - first == len(slots) - 1 and bool((slots.diff() == 1).all()):
            return recurrent_step(q, k, v, slopes, states[first : last + 1])  # neighbours: no copy of the states
    state = states.index_select(0, slots)  # [S, H, D, D]
    out = recurrent_step(q, k, v, slopes, state)
    states.index_copy_(0, slots, state)
    return out
