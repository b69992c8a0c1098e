"""Softmax attention with grouped queries and partial rotary embedding: every eighth layer of MiniMax-M1.

Shapes: T tokens packed, Hq query heads, Hkv key and value heads, D head_dim, R rotated dimensions.
"""

import torch
from torch import Tensor, nn

from fulmen.config import ModelConfig
from fulmen.kernels import paged_attention, softmax_attention
from fulmen.model.cache import ForwardBatch, HybridCache


def rotary_angles(positions: Tensor, rotary_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine for positions [T], float32 [T, 1, R / 2]: computed for the tokens at hand, never tabulated.

    A table for M1's max_position_embeddings of 10,240,000 would take gigabytes; angles are taken in float64 because
    at such positions float32 cannot hold position times frequency.
    """
    exponents = torch.arange(0, rotary_dim, 2, dtype=torch.float64, device=positions.device) / rotary_dim
    angles = positions.to(torch.float64)[:, None] * base**-exponents  # [T, R / 2]
    return angles.cos().float()[:, None], angles.sin().float()[:, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first R of x's D dimensions, x [T, H, D], pairing dimension i with i + R / 2 (rotate-half)."""
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    rotated = (first * cos - second * sin, second * cos + first * sin)  # float32 by promotion
    return torch.cat([part.to(x.dtype) for part in rotated] + [rest], dim=-1)


class SoftmaxAttention(nn.Module):
    """Causal attention with grouped queries, scale 1 / sqrt(D), over pages of a cache or over the batch alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=config.qkv_bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=False)

    def forward(
        self,
        x: Tensor,
        batch: ForwardBatch,
        angles: tuple[Tensor, Tensor],
        cache: HybridCache | None = None,
        index: int = 0,
        rows: Tensor | None = None,
    ) -> Tensor:
        """x [T, hidden] -> [T, hidden]; `index` of this layer among the softmax layers, `rows` [T] to write in its pages."""
        q, k, v = (
            proj(x).view(len(x), -1, self.head_dim) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )  # [T, Hq, D], [T, Hkv, D], [T, Hkv, D]
        q, k = rotate(q, *angles), rotate(k, *angles)
        if cache is None:
            out = softmax_attention(q, k, v, batch.cu_seqlens)
        else:
            keys, values = cache.keys[index], cache.values[index]  # [pages, page_size, Hkv, D]
            keys.view(-1, *k.shape[1:]).index_copy_(0, rows, k.to(keys.dtype))
            values.view(-1, *v.shape[1:]).index_copy_(0, rows, v.to(values.dtype))
            out = paged_attention(q, keys, values, batch.block_table, batch.lengths, batch.contexts)
        return self.o_proj(out.reshape(len(x), -1))
