"""What a model costs to train and to run, from its config alone: parameters and floating-point operations. No torch."""

from dataclasses import dataclass

from fulmen.config import LayerKind, ModelConfig


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of the matrices; norms are left out, which are below a thousandth.

    Example: `Parameters(total=16_777_216, active=5_242_880)`.
    """

    total: int
    """Embedding and head included."""
    active: int
    """Those that one token is multiplied with: its experts and the head, not the embedding."""


def count_parameters(config: ModelConfig) -> Parameters:
    """The matrices of a model."""
    head = config.hidden_size * config.vocab_size
    total = active = head
    for layer in config.layers:
        attention = _attention(config, layer)
        total += attention + _feed_forward(config, layer, config.num_experts)
        active += attention + _feed_forward(config, layer, config.experts_per_token)
    return Parameters(total=total + (0 if config.tied_embeddings else head), active=active)


def forward_flops(config: ModelConfig, length: int) -> float:
    """Operations to read one token, on average over a sequence of `length` tokens: two per active parameter, and
    the mixing of tokens (the state of lightning attention, the keys and values of softmax attention before it)."""
    inner = config.num_heads * config.head_dim
    lightning = 4 * inner * config.head_dim  # k v^T into the state, q out of it
    softmax = 4 * inner * length / 2  # q k^T and the weighted values, over half of the sequence on average
    mixing = len(config.lightning_layers) * lightning + len(config.softmax_layers) * softmax
    return 2 * count_parameters(config).active + mixing


def training_flops(config: ModelConfig, length: int, tokens: int) -> float:
    """Operations to train on so many tokens: the backward pass costs two forward passes."""
    return 3 * forward_flops(config, length) * tokens


def _attention(config: ModelConfig, layer: LayerKind) -> int:
    inner = config.num_heads * config.head_dim
    if layer.attention == "lightning":
        return 5 * config.hidden_size * inner  # q, k, v, gate, out
    return config.hidden_size * (2 * inner + 2 * config.num_kv_heads * config.head_dim)


def _feed_forward(config: ModelConfig, layer: LayerKind, experts: int) -> int:
    if layer.feed_forward == "dense":
        return 3 * config.hidden_size * config.intermediate_size
    shared = 3 * config.hidden_size * config.shared_intermediate_size
    coefficient = config.hidden_size if shared else 0
    router = config.hidden_size * config.num_experts
    return router + experts * 3 * config.hidden_size * config.intermediate_size + shared + coefficient
