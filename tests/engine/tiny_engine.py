"""Tiny configs of every kind and a vocabulary of single characters, for the tests of the engine."""

import torch

from fulmen.config import LayerKind, ModelConfig, ResidualScale, hybrid_layers

LETTERS = [bytes([i]) for i in range(32, 127)]
END = len(LETTERS)
SIZES = {
    "vocab_size": END + 1,
    "hidden_size": 32,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "intermediate_size": 24,
    "rotary_dim": 4,
    "eos_token_ids": (END,),
    "initializer_range": 0.2,
    "max_context": 256,
}
EXPERTS = {"num_experts": 4, "experts_per_token": 2}
CONFIGS = {
    "hybrid": ModelConfig(
        **SIZES,
        **EXPERTS,
        layers=hybrid_layers(3, softmax_every=3),
        postnorm=True,
        lightning_residual=ResidualScale(alpha=1.5),
        softmax_residual=ResidualScale(alpha=1.4),
    ),
    "softmax": ModelConfig(**SIZES, layers=hybrid_layers(2, softmax_every=1, feed_forward="dense")),
    "lightning": ModelConfig(
        **SIZES, **EXPERTS, layers=(LayerKind(attention="lightning", feed_forward="experts"),) * 2
    ),
}


class Letters:
    """A vocabulary of printable ASCII and one end token."""

    token_bytes = (*LETTERS, b"")
    special_token_ids = frozenset({END})
    eos_token_ids = (END,)

    def encode(self, text: str) -> list[int]:
        return [byte - 32 for byte in text.encode()]

    def decode(self, ids) -> str:
        return b"".join(self.token_bytes[i] for i in ids).decode()


def prompts_of(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, END, (length,), generator=generator).tolist() for length in lengths]
