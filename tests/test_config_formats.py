"""`config.json` of every family, both ways, and no key ignored that could change the result."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.config import MINIMAX_M1, PRESETS, LayerKind, ModelConfig, ResidualScale, hybrid_layers
from fulmen.config_formats import read_config, read_config_file, write_config

M1 = json.loads((Path(__file__).parent / "minimax_m1_config.json").read_text())
LLAMA = {
    "model_type": "llama",
    "vocab_size": 10,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
}


def test_the_published_m1_is_the_preset() -> None:
    assert read_config(M1) == MINIMAX_M1 == PRESETS["minimax-m1-80k"]


def test_writing_m1_states_the_published_facts() -> None:
    written = write_config(MINIMAX_M1, "minimax_m1")
    differing = {key for key in M1 if key in written and written[key] != M1[key]}
    assert differing == {"eos_token_id"}  # null in the published file although 200020 ends its replies
    left_out = set(M1) - set(written)
    assert left_out == {
        "attention_dropout", "auto_map", "output_router_logits", "router_jitter_noise", "sliding_window",
        "transformers_version", "use_cache",
    }  # fmt: skip
    assert read_config(written) == MINIMAX_M1


def test_text_01_reads_as_the_same_architecture() -> None:
    assert read_config(M1 | {"model_type": "minimax_text_01"}) == MINIMAX_M1


@pytest.mark.parametrize("change", [{"qk_norm": True}, {"mla_rank": 4, "qk_norm": True}])
def test_an_unknown_key_is_named(change) -> None:
    with pytest.raises(ValueError, match=r"unknown keys.*qk_norm"):
        read_config(M1 | change)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "gelu"),
        ("rope_scaling", {"rope_type": "llama3", "factor": 8.0}),
        ("sliding_window", 4096),
        ("attention_bias", True),
        ("mlp_bias", True),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}),
        ("layer_types", ["full_attention", "sliding_attention"]),
    ],
)
def test_a_value_that_cannot_be_computed_is_named(key, value) -> None:
    with pytest.raises(ValueError, match=key):
        read_config(LLAMA | {key: value})


def test_missing_keys_and_unknown_types_are_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="missing keys: rms_norm_eps"):
        read_config({key: value for key, value in LLAMA.items() if key != "rms_norm_eps"})
    with pytest.raises(ValueError, match="missing keys: attn_type_list"):
        read_config({key: value for key, value in M1.items() if key != "attn_type_list"})
    with pytest.raises(ValueError, match=r"'gemma'.*known are.*llama"):
        read_config(LLAMA | {"model_type": "gemma"})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json"):
        read_config_file(tmp_path / "config.json")


def test_what_only_training_asks_for_is_read() -> None:
    config = read_config(M1 | {"router_aux_loss_coef": 0.02, "initializer_range": 0.01})
    assert (config.router_aux_loss_coef, config.initializer_range) == (0.02, 0.01)


def test_an_unknown_kind_of_layer_is_named() -> None:
    layers = hybrid_layers(2, softmax_every=2)
    facts = write_config(MINIMAX_M1.replace(rotary_dim=128, layers=layers), "minimax")
    with pytest.raises(ValueError, match="layer_types has .*sliding_attention.*only full_attention and linear"):
        read_config(facts | {"layer_types": ["sliding_attention", "full_attention"]})


def test_defaults_of_llama_and_qwen2() -> None:
    llama = read_config(LLAMA)
    assert (llama.num_kv_heads, llama.head_dim, llama.rotary_dim, llama.rope_base) == (2, 4, 4, 10_000.0)
    qwen = read_config(LLAMA | {"model_type": "qwen2", "sliding_window": 32_768, "use_sliding_window": False})
    assert qwen == llama.replace(qkv_bias=True)


RESIDUALS = st.builds(ResidualScale, alpha=st.floats(0.1, 4), beta=st.floats(0.1, 4))
FIELDS = {
    "vocab_size": st.integers(2, 1000),
    "hidden_size": st.integers(1, 64),
    "num_heads": st.sampled_from([2, 4, 8]),
    "num_kv_heads": st.sampled_from([1, 2]),
    "head_dim": st.sampled_from([8, 16]),
    "layers": st.lists(st.sampled_from(["lightning", "softmax"]), min_size=1, max_size=5).map(
        lambda kinds: tuple(LayerKind(attention=kind, feed_forward="experts") for kind in kinds)
    ),
    "intermediate_size": st.integers(1, 64),
    "num_experts": st.integers(2, 8),
    "experts_per_token": st.integers(1, 2),
    "shared_intermediate_size": st.sampled_from([0, 12]),
    "postnorm": st.booleans(),
    "lightning_residual": RESIDUALS,
    "softmax_residual": RESIDUALS,
    "feed_forward_residual": RESIDUALS,
    "rotary_dim": st.sampled_from([2, 4, 8]),
    "rope_base": st.floats(10, 1e7),
    "max_context": st.integers(1, 1 << 24),
    "norm_eps": st.floats(1e-8, 1e-3),
    "gate_norm_eps": st.floats(1e-8, 1e-3),
    "qkv_bias": st.just(False),  # the family has none, and refuses a config with them
    "tied_embeddings": st.booleans(),
    "num_live_tokens": st.sampled_from([None, 1, 2]),
    "bos_token_id": st.sampled_from([None, 0]),
    "eos_token_ids": st.sampled_from([(), (1,), (0, 1)]),
    "router_aux_loss_coef": st.floats(0, 1),
    "initializer_range": st.floats(0, 1),
}


def test_every_field_is_drawn() -> None:
    assert set(FIELDS) == {field.name for field in dataclasses.fields(ModelConfig)}


@settings(max_examples=60)
@given(config=st.builds(ModelConfig, **FIELDS))
def test_our_family_keeps_every_field(config: ModelConfig) -> None:
    assert read_config(json.loads(json.dumps(write_config(config, "minimax_m1")))) == config


@pytest.mark.parametrize("family", ["minimax_m1", "minimax"])
@pytest.mark.parametrize("live", [None, 200_000, 200_032])
def test_live_tokens_are_kept_at_the_published_size_of_the_vocabulary(family, live) -> None:
    config = MINIMAX_M1.replace(num_live_tokens=live, rotary_dim=128)
    assert read_config(write_config(config, family)) == config


def test_our_family_keeps_a_hybrid_without_experts() -> None:
    dense = read_config(LLAMA).replace(layers=hybrid_layers(4, softmax_every=2, feed_forward="dense"))
    written = write_config(dense, "minimax_m1")
    assert written["num_local_experts"] == 0
    assert read_config(json.loads(json.dumps(written))) == dense


def test_our_family_refuses_dense_layers_beside_experts() -> None:
    mixed = (*hybrid_layers(1, softmax_every=2), *hybrid_layers(1, softmax_every=1, feed_forward="dense"))
    for change in ({"layers": mixed}, {"layers": mixed[1:]}):  # the second has a number of experts and no experts
        with pytest.raises(ValueError, match="dense feed-forward layers beside experts"):
            write_config(MINIMAX_M1.replace(**change), "minimax_m1")


def test_the_other_families_keep_every_field_that_they_have() -> None:
    dense = read_config(LLAMA)
    assert read_config(write_config(dense, "llama")) == dense
    assert read_config(write_config(dense.replace(qkv_bias=True), "qwen2")) == dense.replace(qkv_bias=True)
    layers = hybrid_layers(8, softmax_every=8)
    hybrid = MINIMAX_M1.replace(rotary_dim=128, vocab_size=100, num_live_tokens=None, layers=layers)
    assert read_config(write_config(hybrid, "minimax")) == hybrid


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"rotary_dim": 64}, "partial rotary"),
        ({"postnorm": False}, "prenorm"),
        ({"gate_norm_eps": 1e-5}, "epsilon"),
        ({"shared_intermediate_size": 8}, "shared expert"),
        ({"num_heads": 48, "num_kv_heads": 8}, "power of two"),
    ],
)
def test_transformers_minimax_refuses_what_it_would_compute_differently(change, fact) -> None:
    with pytest.raises(ValueError, match=fact):
        write_config(MINIMAX_M1.replace(**{"rotary_dim": 128} | change), "minimax")
