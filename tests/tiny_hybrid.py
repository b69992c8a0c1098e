"""A hybrid of random weights over bytes, for tests that want the real engine and do not care what it says."""

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from fulmen.chat.tokenizer import Tokenizer
from fulmen.config import ModelConfig, hybrid_layers
from fulmen.model.decoder import Decoder


def tiny_tokenizer():
    """One token for each byte, and one that ends a reply."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<end_of_sentence>", special=True)])
    return Tokenizer(backend, eos_token_ids=[256])


def tiny_decoder(**changes):
    """Three lightning layers and a softmax layer, with experts; contexts of 600 tokens. `changes` of the config."""
    config = ModelConfig(
        vocab_size=257,
        hidden_size=32,
        num_heads=2,
        num_kv_heads=1,
        head_dim=16,
        layers=hybrid_layers(4, softmax_every=4),
        intermediate_size=32,
        num_experts=2,
        experts_per_token=1,
        rotary_dim=16,
        postnorm=True,
        max_context=600,
        initializer_range=0.5,
    ).replace(**changes)
    return Decoder(config).requires_grad_(False).initialize(seed=0)
