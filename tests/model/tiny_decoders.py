"""Decoders with every kind of layer, small enough for thousands of passes, and a run through a cache."""

import torch

from fulmen.config import LayerKind, ModelConfig, ResidualScale, hybrid_layers
from fulmen.model.cache import ForwardBatch, HybridCache
from fulmen.model.decoder import Decoder

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "intermediate_size": 24,
    "rotary_dim": 4,
}
EXPERTS = {"num_experts": 4, "experts_per_token": 2}
MINIMAX_LIKE = ModelConfig(
    **SIZES,
    **EXPERTS,
    layers=hybrid_layers(3, softmax_every=3),
    postnorm=True,
    lightning_residual=ResidualScale(alpha=1.5, beta=0.9),
    softmax_residual=ResidualScale(alpha=1.4, beta=1.1),
    feed_forward_residual=ResidualScale(alpha=1.3),
    num_live_tokens=57,
)
CONFIGS = {
    "minimax": MINIMAX_LIKE,
    "shared expert": MINIMAX_LIKE.replace(shared_intermediate_size=16),
    "prenorm": MINIMAX_LIKE.replace(postnorm=False),
    "dense": ModelConfig(**SIZES, layers=hybrid_layers(4, softmax_every=2, feed_forward="dense"), qkv_bias=True),
    "softmax only": ModelConfig(
        **SIZES, layers=hybrid_layers(2, softmax_every=1, feed_forward="dense"), tied_embeddings=True
    ),
    "lightning only": ModelConfig(
        **SIZES, **EXPERTS, layers=(LayerKind(attention="lightning", feed_forward="experts"),)
    ),
}


def make(config: ModelConfig) -> Decoder:
    model = Decoder(config.replace(initializer_range=0.2)).initialize(seed=0)
    return model.requires_grad_(False).eval()


def run_in_chunks(model: Decoder, tokens: torch.Tensor, chunks: list[int]) -> torch.Tensor:
    """Logits of one sequence that is fed in chunks through a cache with scattered pages and a dirty neighbour slot."""
    cache = HybridCache(model.config, num_pages=len(tokens) // 8 + 2, num_slots=3, page_size=8)
    cache.states.fill_(7.0)
    cache.clear_slot(1)
    pages = torch.randperm(cache.num_pages, generator=torch.Generator().manual_seed(1)).tolist()
    hidden, start = [], 0
    for length in chunks:
        batch = ForwardBatch.pack([length], contexts=[start], slots=[1], pages=[pages])
        hidden.append(model(tokens[start : start + length], batch, cache))
        start += length
    assert (cache.states[:, [0, 2]] == 7.0).all()
    return model.head(torch.cat(hidden))


def random_tokens(config: ModelConfig, *shape: int) -> torch.Tensor:
    return torch.randint(
        0, config.num_live_tokens or config.vocab_size, shape, generator=torch.Generator().manual_seed(2)
    )
