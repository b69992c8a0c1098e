"""Kernels: tensors in, tensors out; they know no model. Read `reference` first: every fast form must equal it."""

from fulmen.kernels.dispatch import lightning
from fulmen.kernels.divergence import mean_divergence
from fulmen.kernels.grouped_experts import grouped_experts
from fulmen.kernels.int8 import int8_experts, int8_linear
from fulmen.kernels.lightning_decode import lightning_decode
from fulmen.kernels.logprob import token_logprobs
from fulmen.kernels.paged_attention import paged_attention, softmax_attention
from fulmen.kernels.rms_norm import rms_norm
from fulmen.kernels.silu_lightning import silu_lightning

__all__ = [
    "grouped_experts",
    "int8_experts",
    "int8_linear",
    "lightning",
    "lightning_decode",
    "mean_divergence",
    "paged_attention",
    "rms_norm",
    "silu_lightning",
    "softmax_attention",
    "token_logprobs",
]
