"""int8 weights: rounding stays within half a step, and nothing that decides routes or norms is rounded."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fulmen.config import ModelConfig, hybrid_layers
from fulmen.model.decoder import Decoder
from fulmen.model.quantize import quantize_, quantize_rows

CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=64,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    layers=hybrid_layers(2, softmax_every=2),
    intermediate_size=48,
    num_experts=4,
    experts_per_token=2,
    shared_intermediate_size=32,
    rotary_dim=8,
    postnorm=True,
    qkv_bias=True,
    tied_embeddings=True,
    initializer_range=0.1,
)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 9), columns=st.integers(1, 33), scale=st.floats(1e-6, 1e6))
def test_each_weight_is_within_half_a_step(rows: int, columns: int, scale: float) -> None:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(columns)) * scale
    weight[0] = 0  # a row of zeros has no scale of its own
    integers, steps = quantize_rows(weight)
    assert integers.dtype == torch.int8
    assert ((integers.float() * steps[:, None] - weight).abs() <= steps[:, None] * 0.5001).all()


def test_a_quantised_model_computes_what_its_widened_weights_compute() -> None:
    model, widened = (Decoder(CONFIG).initialize(seed=0).requires_grad_(False) for _ in range(2))
    original = model.logits(torch.arange(40))
    quantize_(model, "int8")
    with torch.no_grad():
        for name, module in widened.named_modules():
            twin = model.get_submodule(name)
            if isinstance(module, nn.Linear) and hasattr(twin, "weight_scale"):
                module.weight = nn.Parameter(twin.weight.float() * twin.weight_scale[:, None])
            elif name.endswith(".experts"):
                module.w13.copy_(twin.w13.float() * twin.w13_scale[..., None])
                module.w2.copy_(twin.w2.float() * twin.w2_scale[..., None])
    logits = model.logits(torch.arange(40))
    torch.testing.assert_close(logits, widened.logits(torch.arange(40)), atol=1e-4, rtol=1e-4)
    error = (logits - original).norm() / original.norm()
    assert 0 < error < 0.03


def test_gates_norms_embedding_and_coefficient_keep_their_precision() -> None:
    model = quantize_(Decoder(CONFIG).initialize(seed=0), "int8")
    layer = model.model.layers[0]
    assert layer.block_sparse_moe.gate.weight.dtype == torch.float32
    assert layer.coefficient.weight.dtype == torch.float32
    assert model.model.embed_tokens.weight.dtype == torch.float32
    assert model.lm_head.weight.dtype == torch.int8
    assert layer.block_sparse_moe.experts.w13.dtype == torch.int8
    assert sum(t.nbytes for t in model.state_dict().values()) < 0.5 * 4 * sum(
        p.numel() for p in Decoder(CONFIG).parameters()
    )


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="'int3'; known is int8"):
        quantize_(Decoder(CONFIG), "int3")
