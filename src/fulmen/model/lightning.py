"""Lightning attention: the layer that 7 of 8 MiniMax-M1 layers are, around the kernel that carries its state.

Shapes: T tokens packed, H heads, D head_dim. Semantics: design of the published model (`modeling` of MiniMax-M1 and
report section 2.1); no scale, no rotary embedding, no softmax, a state in float32 whatever the model's dtype.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fulmen.config import ModelConfig
from fulmen.kernels import lightning_decode, silu_lightning
from fulmen.model.cache import ForwardPass
from fulmen.model.norm import RMSNorm


def alibi_slopes(num_heads: int) -> list[float]:
    """The ALiBi slopes (Press et al., 2022): 2^(-8 (h + 1) / H), interpolated where H is no power of two."""
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-8.0 * (head + 1) / power) for head in range(power)]
    between = [2.0 ** (-4.0 * (head + 1) / power) for head in range(0, 2 * power, 2)]
    return slopes + between[: num_heads - power]


def decay_factor(layer: int, num_layers: int) -> float:
    """What a layer's place makes of the decay rates: `1 - layer / (L - 1) + 1e-5`, and 1 + 1e-5 for a single layer.

    `layer` counts layers of both kinds.
    """
    return 1 - layer / max(num_layers - 1, 1) + 1e-5


def layer_slopes(num_heads: int, layer: int, num_layers: int) -> Tensor:
    """Decay rates of one layer, float32 [H]: the ALiBi slopes times its `decay_factor`."""
    factor = decay_factor(layer, num_layers)
    return torch.tensor([slope * factor for slope in alibi_slopes(num_heads)], dtype=torch.float32, device="cpu")


class LightningAttention(nn.Module):
    """`out_proj(norm(lightning(silu(qkv_proj(x)))) * sigmoid(output_gate(x)))`."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.index = config.lightning_layers.index(layer)
        self.num_heads, self.head_dim = config.num_heads, config.head_dim
        width = config.num_heads * config.head_dim
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * width, bias=False)
        self.output_gate = nn.Linear(config.hidden_size, width, bias=False)
        self.out_proj = nn.Linear(width, config.hidden_size, bias=False)
        self.norm = RMSNorm(width, eps=config.gate_norm_eps)
        # A plain attribute and no buffer: casting the model to bfloat16 must not round the slopes, because
        # exp(-slope) would become 1 and most heads would never forget.
        self.slopes = layer_slopes(config.num_heads, layer, config.num_layers)

    def forward(self, x: Tensor, shared: ForwardPass) -> Tensor:
        """x [T, hidden] -> [T, hidden]; the cache's states of this layer are continued and updated in place."""
        if self.slopes.device != x.device:
            self.slopes = self.slopes.to(x.device)
        # Head by head [q | k | v], not three blocks.
        qkv = self.qkv_proj(x).view(-1, self.num_heads, 3 * self.head_dim)  # [T, H, 3 D]
        out = self._attend(qkv, shared)  # [T, H, D]
        gate = torch.sigmoid(self.output_gate(x))  # [T, H * D]
        out = out.to(self.norm.weight.dtype)  # under autocast it is bfloat16, and the weights are float32
        return self.out_proj(self.norm(out.reshape(gate.shape)) * gate)

    def _attend(self, qkv: Tensor, shared: ForwardPass) -> Tensor:
        batch = shared.batch
        if shared.cache is None:
            return silu_lightning(qkv, self.slopes, cu_seqlens=batch.cu_seqlens)[0]
        assert batch.slots is not None
        states = shared.cache.states[self.index]  # [slots, H, D, D]
        if len(batch.lengths) == len(qkv):
            q, k, v = functional.silu(qkv).split(self.head_dim, dim=-1)
            return lightning_decode(q, k, v, self.slopes, states, batch.slots)
        out, state = silu_lightning(qkv, self.slopes, states[batch.slots], batch.cu_seqlens)
        states[batch.slots] = state
        return out
