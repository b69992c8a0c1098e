"""Counts from a config against counts of a model."""

import pytest

from fulmen.config import MINIMAX_M1, ModelConfig, hybrid_layers
from fulmen.model.decoder import Decoder
from fulmen.train.cost import count_parameters, forward_flops, training_flops

CONFIG = ModelConfig(
    vocab_size=50,
    hidden_size=24,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    layers=hybrid_layers(4, softmax_every=4),
    intermediate_size=12,
    num_experts=4,
    experts_per_token=2,
    rotary_dim=8,
)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        CONFIG.replace(tied_embeddings=True),
        CONFIG.replace(shared_intermediate_size=20),
        CONFIG.replace(layers=hybrid_layers(2, softmax_every=2, feed_forward="dense")),
    ],
)
def test_parameters_are_those_of_the_model(config):
    matrices = {id(p): p.numel() for p in Decoder(config).parameters() if p.dim() > 1}
    assert count_parameters(config).total == sum(matrices.values())


def test_minimax_m1_has_the_published_size():
    parameters = count_parameters(MINIMAX_M1)
    assert parameters.total / 1e9 == pytest.approx(456, abs=0.5)
    assert parameters.active / 1e9 == pytest.approx(45.9, abs=1.5)


def test_active_parameters_leave_out_idle_experts_and_the_embedding():
    idle = 4 * (4 - 2) * 3 * 24 * 12
    parameters = count_parameters(CONFIG)
    assert parameters.active == parameters.total - idle - 50 * 24


def test_flops_grow_with_length_through_softmax_attention_alone():
    grown = forward_flops(CONFIG, 200) - forward_flops(CONFIG, 100)
    assert grown == 1 * 4 * 4 * 8 * 100 / 2
    assert forward_flops(CONFIG, 0) == 2 * count_parameters(CONFIG).active + 3 * 4 * 4 * 8 * 8
    assert training_flops(CONFIG, 64, 1000) == 3000 * forward_flops(CONFIG, 64)
