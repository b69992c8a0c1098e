"""Which implementation of lightning attention runs: chosen by device and shape, behind one signature.

On CUDA flash-linear-attention's kernels run when they are installed (the `gpu` extra). Its general form with one decay
per head is called with our slopes and scale 1; its `chunk_lightning_attn` has other slopes than MiniMax-M1 and divides
by sqrt(D). Everywhere else the chunked torch form runs. The CUDA path follows the library's documented interface.
"""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from fulmen.kernels.lightning_chunk import lightning_chunk


def lightning(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor | None = None, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Lightning attention over packed sequences: `S_t = exp(-slope) S_(t-1) + k_t^T v_t`, `o_t = q_t S_t`.

    q, k, v [T, H, D]; slopes float32 [H], positive; state [S, H, D, D] float32 or None (zeros); cu_seqlens int64
    [S + 1] or None (one sequence); a sequence may be empty. Returns out [T, H, D] in q's dtype and the final state, a
    new tensor in float32. Differentiable once in q, k, v and state, through the final state as well; memory is linear
    in T. float64 inputs are computed in float64. Sequences of one token take the recurrent form.
    """
    if q.is_cuda and q.dtype != torch.float64 and _has_fla():
        return _lightning_fla(q, k, v, slopes, state, cu_seqlens)
    return lightning_chunk(q, k, v, slopes, state, cu_seqlens)


@cache
def _has_fla() -> bool:
    return find_spec("fla") is not None


def _lightning_fla(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor | None, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor]:
    """flash-linear-attention's simple gated linear attention, with the log decay -slope per head."""
    from fla.ops.simple_gla import (  # type: ignore[import-not-found,unused-ignore]
        chunk_simple_gla,
        fused_recurrent_simple_gla,
    )

    single = cu_seqlens is not None and len(cu_seqlens) == len(q) + 1 and not q.requires_grad
    run = fused_recurrent_simple_gla if single else chunk_simple_gla
    out, final = run(
        q[None],
        k[None],
        v[None],
        g_gamma=-slopes,
        scale=1.0,
        initial_state=state,
        output_final_state=True,
        cu_seqlens=cu_seqlens,
    )
    return out[0], final.float()
