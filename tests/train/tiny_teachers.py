"""Dense Llamas of a few thousand weights, the teachers of the conversion's tests."""

import torch

from fulmen.config import ModelConfig, hybrid_layers
from fulmen.model.decoder import Decoder

LLAMA = ModelConfig(
    vocab_size=67,
    hidden_size=32,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    layers=hybrid_layers(4, softmax_every=1, feed_forward="dense"),
    intermediate_size=48,
    rotary_dim=8,
    max_context=256,
    tied_embeddings=True,
    initializer_range=0.2,
)


def make_teacher(config: ModelConfig = LLAMA) -> Decoder:
    """A teacher with random weights that attends to some tokens more than to others."""
    return Decoder(config).initialize(seed=3).requires_grad_(False)


def random_ids(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(LLAMA.vocab_size, (count,), generator=torch.Generator().manual_seed(seed))
