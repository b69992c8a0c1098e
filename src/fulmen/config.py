"""The one description of a model: what each layer is, and every number that changes the result.

`ModelConfig` names things by what they are, not by what one release called them. `config_formats`
reads it from and writes it to the `config.json` of the published models; nothing else in the package
knows those spellings. No torch here: the planner and the command line read a config without it.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

AttentionKind = Literal["lightning", "softmax"]
FeedForwardKind = Literal["experts", "dense"]


@dataclass(frozen=True, kw_only=True)
class LayerKind:
    """What one decoder layer is made of."""

    attention: AttentionKind
    feed_forward: FeedForwardKind


@dataclass(frozen=True, kw_only=True)
class ResidualScale:
    """The two factors of a residual connection: `alpha * residual + beta * branch`."""

    alpha: float = 1.0
    beta: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that determines the function of a hybrid decoder, and nothing about how it runs.

    Example: a two-layer model with one lightning layer and one softmax layer, both with experts::

        ModelConfig(
            vocab_size=256, hidden_size=64, num_heads=4, num_kv_heads=2, head_dim=16,
            layers=hybrid_layers(2, softmax_every=2), intermediate_size=96,
            num_experts=4, experts_per_token=2, rotary_dim=8,
        )
    """

    vocab_size: int
    """Rows of the embedding and of the head, padding included."""
    hidden_size: int
    num_heads: int
    """Query heads; lightning layers use as many key and value heads."""
    num_kv_heads: int
    """Key and value heads of softmax layers (grouped-query attention)."""
    head_dim: int
    layers: tuple[LayerKind, ...]
    intermediate_size: int
    """Inner width of one expert, or of the dense feed-forward."""
    num_experts: int = 0
    experts_per_token: int = 0
    shared_intermediate_size: int = 0
    """Inner width of the expert that every token passes, mixed in by a sigmoid coefficient; 0: none."""
    postnorm: bool = False
    """True: the residual is the normed input (MiniMax). False: it is the input itself (Llama)."""
    lightning_residual: ResidualScale = ResidualScale()
    softmax_residual: ResidualScale = ResidualScale()
    feed_forward_residual: ResidualScale = ResidualScale()
    rotary_dim: int
    """Leading dimensions of each softmax head that are rotated (rotate-half); even, at most head_dim."""
    rope_base: float = 10_000.0
    max_context: int = 8192
    """Tokens of one sequence, prompt and reply together, that the model is meant for."""
    norm_eps: float = 1e-5
    gate_norm_eps: float = 1e-6
    """Epsilon of the RMSNorm inside lightning attention, which the published model leaves at its own default."""
    qkv_bias: bool = False
    """Biases on the query, key and value projections of softmax layers (Qwen2)."""
    tied_embeddings: bool = False
    num_live_tokens: int | None = None
    """Token ids from here up are padding of the vocabulary: their logits are masked. None: all are live."""
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    router_aux_loss_coef: float = 0.001
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("layers is empty: a model needs at least one layer")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        if self.rotary_dim % 2 or not 0 <= self.rotary_dim <= self.head_dim:
            raise ValueError(f"rotary_dim {self.rotary_dim} must be even and at most head_dim {self.head_dim}")
        if any(layer.feed_forward == "experts" for layer in self.layers) and not (
            0 < self.experts_per_token <= self.num_experts
        ):
            raise ValueError(f"experts_per_token {self.experts_per_token} must be within 1..{self.num_experts}")
        if self.num_live_tokens is not None and not 0 < self.num_live_tokens <= self.vocab_size:
            raise ValueError(f"num_live_tokens {self.num_live_tokens} must be within 1..{self.vocab_size}")

    @property
    def num_layers(self) -> int:
        """Decoder layers of both kinds."""
        return len(self.layers)

    @property
    def lightning_layers(self) -> tuple[int, ...]:
        """Indices of the lightning attention layers, in order."""
        return tuple(i for i, layer in enumerate(self.layers) if layer.attention == "lightning")

    @property
    def softmax_layers(self) -> tuple[int, ...]:
        """Indices of the softmax attention layers, in order."""
        return tuple(i for i, layer in enumerate(self.layers) if layer.attention == "softmax")

    def replace(self, **changes: object) -> "ModelConfig":
        """A copy with some fields changed; checked like a new one."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def hybrid_layers(
    num_layers: int, *, softmax_every: int, feed_forward: FeedForwardKind = "experts"
) -> tuple[LayerKind, ...]:
    """`num_layers` layers of which every `softmax_every`-th is softmax and the others lightning; 8 is M1's 7:1."""
    return tuple(
        LayerKind(attention="lightning" if (i + 1) % softmax_every else "softmax", feed_forward=feed_forward)
        for i in range(num_layers)
    )


_DEEPNORM_80 = ResidualScale(alpha=3.5565588200778455, beta=1.0)  # (2 * 80) ** 0.25

MINIMAX_M1 = ModelConfig(
    vocab_size=200_064,
    num_live_tokens=200_032,
    hidden_size=6144,
    num_heads=64,
    num_kv_heads=8,
    head_dim=128,
    layers=hybrid_layers(80, softmax_every=8),
    intermediate_size=9216,
    num_experts=32,
    experts_per_token=2,
    postnorm=True,
    lightning_residual=_DEEPNORM_80,
    softmax_residual=_DEEPNORM_80,
    feed_forward_residual=_DEEPNORM_80,
    rotary_dim=64,
    rope_base=10_000_000.0,
    max_context=10_240_000,
    eos_token_ids=(200_020,),
)
"""MiniMax-M1 and MiniMax-Text-01: one architecture, three releases that differ in training alone."""

PRESETS: dict[str, ModelConfig] = {
    "minimax-m1-40k": MINIMAX_M1,
    "minimax-m1-80k": MINIMAX_M1,
    "minimax-text-01": MINIMAX_M1,
    "smollm2-135m": ModelConfig(
        vocab_size=49_152,
        hidden_size=576,
        num_heads=9,
        num_kv_heads=3,
        head_dim=64,
        layers=hybrid_layers(30, softmax_every=1, feed_forward="dense"),
        intermediate_size=1536,
        rotary_dim=64,
        rope_base=100_000.0,
        max_context=8192,
        tied_embeddings=True,
        bos_token_id=1,
        eos_token_ids=(2,),
    ),
}
"""Configs by the name that the command line and `fulmen.load` know them by."""
