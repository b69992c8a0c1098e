"""Which implementation of lightning attention runs: chosen by device and shape, one signature."""

from torch import Tensor

from fulmen.kernels.lightning_chunk import lightning_chunk


def lightning(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor | None = None, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Lightning attention over packed sequences: `S_t = exp(-slope) S_(t-1) + k_t^T v_t`, `o_t = q_t S_t`.

    q, k, v [T, H, D]; slopes float32 [H], positive; state [S, H, D, D] float32 or None (zeros); cu_seqlens int64
    [S + 1] or None (one sequence). Returns out [T, H, D] in q's dtype and the final state, a new float32 tensor.
    """
    return lightning_chunk(q, k, v, slopes, state, cu_seqlens)
