"""The models that are compared: the same random weights in Fulmen and in the peer.

The hybrid has 118M parameters: hidden 512, 8 layers of which the last is softmax, 8 heads of 64, 2 key-value heads,
8 experts of 768 with 2 per token, vocabulary 32,000. Its softmax twin is transformers' Mixtral of the same sizes.
"""

import tempfile
from functools import cache
from typing import Any

import torch
import transformers

import fulmen
from fulmen.config import ModelConfig
from fulmen.model.decoder import Decoder

SIZES: dict[str, Any] = {
    "vocab_size": 32_000,
    "hidden_size": 512,
    "intermediate_size": 768,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 1 << 20,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
}


@cache
def transformers_hybrid() -> transformers.PreTrainedModel:
    """transformers' MiniMaxForCausalLM of the sizes above, with random weights."""
    torch.manual_seed(0)
    alpha = (2 * SIZES["num_hidden_layers"]) ** 0.25
    config = transformers.MiniMaxConfig(
        **SIZES,
        layer_types=["linear_attention"] * 7 + ["full_attention"],
        rope_parameters={"rope_type": "default", "rope_theta": 1e7},
        linear_attn_alpha_factor=alpha,
        full_attn_alpha_factor=alpha,
        mlp_alpha_factor=alpha,
    )
    return transformers.MiniMaxForCausalLM(config).eval()


@cache
def transformers_softmax() -> transformers.PreTrainedModel:
    """transformers' MixtralForCausalLM of the same sizes: softmax attention in every layer."""
    torch.manual_seed(0)
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**SIZES, sliding_window=None)).eval()


def fulmen_hybrid(quantize: str | None = None, dtype: torch.dtype = torch.float32) -> Decoder:
    """Fulmen's decoder with the weights of `transformers_hybrid`, through a checkpoint on disk."""
    with tempfile.TemporaryDirectory() as folder:
        transformers_hybrid().save_pretrained(folder)
        return fulmen.load(folder, quantize=quantize, dtype=dtype)


def active_parameters(config: ModelConfig) -> int:
    """Weights that one token is multiplied with, embedding and head left out: 2 FLOPs each."""
    width, hidden = config.num_heads * config.head_dim, config.hidden_size
    total = 0
    for layer in config.layers:
        keys = config.num_kv_heads * config.head_dim
        total += 5 * width * hidden if layer.attention == "lightning" else 2 * (width + keys) * hidden
        experts = config.experts_per_token if layer.feed_forward == "experts" else 1
        total += experts * 3 * hidden * config.intermediate_size
    return total


def prefill_flops(config: ModelConfig, tokens: int) -> float:
    """FLOPs to prefill `tokens`: weights, causal softmax attention, and the lightning state's update and read."""
    width = config.num_heads * config.head_dim
    softmax = len(config.softmax_layers) * 2 * width * tokens**2
    lightning = len(config.lightning_layers) * 4 * width * config.head_dim * tokens
    return 2.0 * active_parameters(config) * tokens + softmax + lightning


class NumberedVocabulary:
    """`trace.Vocabulary` without a tokenizer: token i stands for its own number, and nothing ends a reply."""

    special_token_ids: frozenset[int] = frozenset()
    eos_token_ids: tuple[int, ...] = ()

    def __init__(self, size: int) -> None:
        self.token_bytes = [f"{i} ".encode() for i in range(size)]
