"""Softmax attention with grouped queries and partial rotary embedding: every eighth layer of MiniMax-M1.

Shapes: T tokens packed, Hq query heads, Hkv key and value heads, D head_dim, R rotated dimensions.
"""

import torch
from torch import Tensor, nn

from fulmen.config import ModelConfig
from fulmen.kernels import paged_attention, softmax_attention
from fulmen.model.cache import ForwardPass


def rotary_angles(positions: Tensor, rotary_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine for positions [T], float32 [T, 1, R / 2]: computed for the tokens at hand, never tabulated.

    A table for M1's max_position_embeddings of 10,240,000 would take gigabytes. The frequencies are the float32 ones
    that the published models were trained with; the product is taken in float64, because at a million tokens float32
    would round the angle by up to 0.06.
    """
    exponents = torch.arange(0, rotary_dim, 2, dtype=torch.float32, device=positions.device) / rotary_dim
    angles = positions.double()[:, None] * (1.0 / base**exponents).double()  # [T, R / 2]
    return angles.cos().float()[:, None], angles.sin().float()[:, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first R of x's D dimensions, x [T, H, D], pairing dimension i with i + R / 2 (rotate-half)."""
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    rotated = (first * cos - second * sin, second * cos + first * sin)  # float32 by promotion
    return torch.cat([part.to(x.dtype) for part in rotated] + [rest], dim=-1)


class SoftmaxAttention(nn.Module):
    """Causal attention with grouped queries, scale 1 / sqrt(D), over pages of a cache or over the batch alone."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.index = config.softmax_layers.index(layer)
        self.head_dim = config.head_dim
        queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=config.qkv_bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=False)

    def forward(self, x: Tensor, shared: ForwardPass) -> Tensor:
        """x [T, hidden] -> [T, hidden]; with a cache, new keys and values are written to this layer's pages first."""
        q = self.q_proj(x).view(len(x), -1, self.head_dim)  # [T, Hq, D]
        k = self.k_proj(x).view(len(x), -1, self.head_dim)  # [T, Hkv, D]
        v = self.v_proj(x).view(len(x), -1, self.head_dim)  # [T, Hkv, D]
        out = self._attend(rotate(q, *shared.angles), rotate(k, *shared.angles), v, shared)  # [T, Hq, D]
        return self.o_proj(out.reshape(len(x), -1))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, shared: ForwardPass) -> Tensor:
        batch, cache = shared.batch, shared.cache
        if cache is None:
            return softmax_attention(q, k, v, batch.cu_seqlens)
        assert batch.block_table is not None
        assert shared.rows is not None
        keys, values = cache.keys[self.index], cache.values[self.index]  # [pages, page_size, Hkv, D]
        keys.view(-1, *k.shape[1:]).index_copy_(0, shared.rows, k.to(keys.dtype))
        values.view(-1, *v.shape[1:]).index_copy_(0, shared.rows, v.to(values.dtype))
        return paged_attention(q, keys, values, batch.block_table, batch.lengths, batch.contexts)
