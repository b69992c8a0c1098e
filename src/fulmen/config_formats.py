"""`config.json` of the published families to `ModelConfig` and back: the only place that knows their spellings.

Families: `minimax_m1` (MiniMax-M1 and Text-01, our own), `minimax` (transformers' port), `llama`, `qwen2`. A key that
is not known here is refused by name, because a key that is ignored may be one that changes the result. What no
published key states has a key of our own, written only where it is not what the published file means without it.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from fulmen.config import LayerKind, ModelConfig, ResidualScale

Family = Literal["minimax_m1", "minimax", "llama", "qwen2"]

# Keys that say where a file comes from, how it is trained or how its own code runs, but not what it computes.
_IRRELEVANT = {
    "_name_or_path", "architectures", "attention_dropout", "auto_map", "bos_token_id", "dtype", "eos_token_id",
    "initializer_range", "model_type", "output_router_logits", "pad_token_id", "pretraining_tp", "router_aux_loss_coef",
    "router_jitter_noise", "shared_moe_mode", "torch_dtype", "transformers_version", "use_cache", "block_size",
    "max_window_layers", "is_llama_config", "rope_interleaved", "transformers.js_config", "output_attentions",
    "output_hidden_states", "return_dict", "chunk_size_feed_forward", "id2label", "label2id", "problem_type",
    "is_encoder_decoder", "tokenizer_class", "unsloth_fixed",
}  # fmt: skip
# Keys that must have one value, because we compute nothing else.
_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "sliding_window": (None,),
    "use_sliding_window": (False,),
    "rope_scaling": (None,),
    "mlp_bias": (False,),
    "attention_bias": (False,),
}
_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_context",
    "rms_norm_eps": "norm_eps",
    "tie_word_embeddings": "tied_embeddings",
}
_OWN = ("num_live_tokens", "gate_norm_eps")
"""Fields of `ModelConfig` with a key of their name, which other software does not read."""
_EXPERTS = {"num_local_experts": "num_experts", "num_experts_per_tok": "experts_per_token"}
_RESIDUALS = {
    "minimax_m1": ("layernorm_linear_attention_{}", "layernorm_full_attention_{}", "layernorm_mlp_{}"),
    "minimax": ("linear_attn_{}_factor", "full_attn_{}_factor", "mlp_{}_factor"),
}
_RESIDUAL_FIELDS = ("lightning_residual", "softmax_residual", "feed_forward_residual")
_MODEL_TYPES: dict[str, Family] = {
    "minimax_m1": "minimax_m1",
    "minimax_text_01": "minimax_m1",
    "MiniMaxText01": "minimax_m1",
    "minimax": "minimax",
    "llama": "llama",
    "qwen2": "qwen2",
}
_ARCHITECTURES = {
    "minimax_m1": "MiniMaxM1ForCausalLM",
    "minimax": "MiniMaxForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
}
_M1_VOCABULARY, _M1_LIVE, _M1_EOS = 200_064, 200_032, 200_020


def _is_whole(value: object, least: float = -math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf


# What the values of keys must be, in words and as a check; the same in all families.
_VALUES: dict[str, tuple[Callable[[Any], bool], tuple[str, ...]]] = {
    "a whole number from 1 up": (
        lambda value: _is_whole(value, 1),
        (
            "vocab_size", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings",
            "num_hidden_layers",
        ),
    ),
    "a whole number from 1 up or null": (
        lambda value: value is None or _is_whole(value, 1),
        ("num_key_value_heads", "head_dim", "num_live_tokens"),
    ),
    "a whole number from 0 up": (
        lambda value: _is_whole(value, 0),
        (*_EXPERTS, "shared_intermediate_size", "rotary_dim"),
    ),
    "a whole number or null": (lambda value: value is None or _is_whole(value), ("bos_token_id",)),
    "a whole number, a list of them or null": (
        lambda value: value is None or all(map(_is_whole, value if isinstance(value, list) else [value])),
        ("eos_token_id",),
    ),
    "a number above 0": (
        lambda value: _is_number(value) and value > 0,
        ("rms_norm_eps", "gate_norm_eps", "rope_theta"),
    ),
    "a number": (
        _is_number,
        (
            "initializer_range", "router_aux_loss_coef",
            *(key.format(factor) for keys in _RESIDUALS.values() for key in keys for factor in ("alpha", "beta")),
        ),
    ),
    "true or false": (lambda value: isinstance(value, bool), ("tie_word_embeddings", "postnorm")),
    "a list of 0 (lightning) and 1 (softmax)": (
        lambda value: isinstance(value, list) and all(kind in (0, 1) for kind in value),
        ("attn_type_list",),
    ),
    "a list of names": (
        lambda value: isinstance(value, list) and all(isinstance(kind, str) for kind in value),
        ("layer_types",),
    ),
    "an object or null": (lambda value: value is None or isinstance(value, dict), ("rope_parameters",)),
}  # fmt: skip


def family_of(facts: Mapping[str, Any]) -> Family:
    """The family that a config.json belongs to; ValueError names the model type if it is none of ours."""
    model_type = facts.get("model_type")
    if not isinstance(model_type, str) or model_type not in _MODEL_TYPES:
        raise ValueError(f"model_type is {model_type!r}; known are {', '.join(sorted(_MODEL_TYPES))}")
    return _MODEL_TYPES[model_type]


def read_config_file(path: Path) -> ModelConfig:
    """Read `config.json`; ValueError names the file and what is wrong."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): it is damaged or cut off, copy it again") from error
    if not isinstance(facts, dict):
        raise ValueError(f"{path} must hold a JSON object, not {facts!r:.60}")
    try:
        return read_config(facts)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_config(facts: Mapping[str, Any]) -> ModelConfig:
    """A config of any known family; ValueError names a key that is unknown, missing or not expressible."""
    _check_values(facts)
    family = family_of(facts)
    left = {key: value for key, value in facts.items() if key not in _IRRELEVANT}
    if left.get("use_sliding_window") is False:
        left.pop("sliding_window", None)  # Qwen2 states a width that it does not use
    for key, allowed in _FIXED.items():
        if left.pop(key, allowed[0]) not in allowed:
            raise ValueError(f"{key} is {facts[key]!r}, which Fulmen cannot compute; it must be {allowed[0]!r}")
    fields = _sizes(left, facts)
    _READERS[family](left, fields)
    fields |= {key: left.pop(key) for key in _OWN if key in left}
    if left:
        raise ValueError(f"unknown keys that may change the result: {', '.join(sorted(left))}")
    return ModelConfig(**fields)


def write_config(config: ModelConfig, family: Family) -> dict[str, Any]:
    """The facts of `config.json` in a family's spelling; ValueError if the family cannot express the config."""
    _check_expressible(config, family)
    facts: dict[str, Any] = {"architectures": [_ARCHITECTURES[family]], "model_type": family, "hidden_act": "silu"}
    facts |= {key: getattr(config, field) for key, field in _SIZES.items()}
    facts["num_hidden_layers"] = config.num_layers
    facts["bos_token_id"] = config.bos_token_id
    facts["eos_token_id"] = config.eos_token_ids[0] if len(config.eos_token_ids) == 1 else list(config.eos_token_ids)
    facts["initializer_range"] = config.initializer_range
    facts |= _own_facts(config, family)
    if family in ("llama", "qwen2"):
        return facts | {"rope_theta": config.rope_base}
    facts |= {key: getattr(config, field) for key, field in _EXPERTS.items()}
    facts["router_aux_loss_coef"] = config.router_aux_loss_coef
    for key, field in zip(_RESIDUALS[family], _RESIDUAL_FIELDS, strict=True):
        scale = getattr(config, field)
        facts |= {key.format("alpha"): scale.alpha, key.format("beta"): scale.beta}
    softmax = [layer.attention == "softmax" for layer in config.layers]
    if family == "minimax":
        facts["layer_types"] = ["full_attention" if full else "linear_attention" for full in softmax]
        return facts | {"rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base}}
    facts["attn_type_list"] = [int(full) for full in softmax]
    facts |= {"rope_theta": config.rope_base, "rotary_dim": config.rotary_dim, "postnorm": config.postnorm}
    return facts | {"shared_intermediate_size": config.shared_intermediate_size, "shared_moe_mode": "sigmoid"}


def _own_facts(config: ModelConfig, family: Family) -> dict[str, Any]:
    live = _M1_LIVE if family == "minimax_m1" and config.vocab_size == _M1_VOCABULARY else None
    unsaid = {"num_live_tokens": live, "gate_norm_eps": ModelConfig.gate_norm_eps}
    return {key: getattr(config, key) for key in _OWN if getattr(config, key) != unsaid[key]}


def _sizes(left: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What all families share; takes the keys it reads out of `left`."""
    left.setdefault("tie_word_embeddings", False)
    heads = left.get("num_attention_heads")
    if left.get("num_key_value_heads") is None:
        left["num_key_value_heads"] = heads
    if left.get("head_dim") is None and heads is not None and "hidden_size" in left:
        left["head_dim"] = left["hidden_size"] // heads
    missing = [key for key in (*_SIZES, "num_hidden_layers") if key not in left]
    if missing:
        raise ValueError(f"missing keys: {', '.join(missing)}")
    _check_values(left)
    fields = {field: left.pop(key) for key, field in _SIZES.items()}
    eos = facts.get("eos_token_id")
    fields["eos_token_ids"] = () if eos is None else tuple(eos) if isinstance(eos, list) else (eos,)
    fields["bos_token_id"] = facts.get("bos_token_id")
    for key in ("initializer_range", "router_aux_loss_coef"):
        fields[key] = facts.get(key, getattr(ModelConfig, key))
    return fields


def _check_values(facts: Mapping[str, Any]) -> None:
    """ValueError names the first key whose value is not of its kind."""
    for words, (is_right, keys) in _VALUES.items():
        for key in keys:
            if key in facts and not is_right(facts[key]):
                raise ValueError(f"{key} is {facts[key]!r:.60}; it must be {words}")


def _take(left: dict[str, Any], key: str) -> Any:
    if key not in left:
        raise ValueError(f"missing keys: {key}")
    return left.pop(key)


def _rope_base(left: dict[str, Any], default: float) -> float:
    parameters = left.pop("rope_parameters", None) or {}
    if parameters.get("rope_type", "default") != "default":
        raise ValueError(f"rope_parameters is {parameters!r}; only rope_type 'default' can be computed")
    _check_values(parameters)
    return float(left.pop("rope_theta", parameters.get("rope_theta", default)))


def _read_dense(left: dict[str, Any], fields: dict[str, Any], *, qkv_bias: bool) -> None:
    layers = left.pop("num_hidden_layers")
    types = left.pop("layer_types", ["full_attention"] * layers)
    if set(types) != {"full_attention"}:
        raise ValueError(f"layer_types has {sorted(set(types))}; only full_attention can be computed in this family")
    fields["layers"] = (LayerKind(attention="softmax", feed_forward="dense"),) * layers
    fields |= {"rope_base": _rope_base(left, 10_000.0), "rotary_dim": fields["head_dim"], "qkv_bias": qkv_bias}


def _read_experts(left: dict[str, Any], fields: dict[str, Any], family: str, softmax: list[bool]) -> None:
    num_layers = left.pop("num_hidden_layers")
    if len(softmax) != num_layers:
        raise ValueError(f"{len(softmax)} layers have an attention type and num_hidden_layers is {num_layers}")
    fields |= {field: _take(left, key) for key, field in _EXPERTS.items()}
    # A converted Llama may have no experts; `minimax` always has.
    dense = family == "minimax_m1" and fields["num_experts"] == 0
    fields["layers"] = tuple(
        LayerKind(attention="softmax" if full else "lightning", feed_forward="dense" if dense else "experts")
        for full in softmax
    )
    for key, field in zip(_RESIDUALS[family], _RESIDUAL_FIELDS, strict=True):
        alpha, beta = (left.pop(key.format(factor), 1.0) for factor in ("alpha", "beta"))
        fields[field] = ResidualScale(alpha=float(alpha), beta=float(beta))


def _read_minimax_m1(left: dict[str, Any], fields: dict[str, Any]) -> None:
    _read_experts(left, fields, "minimax_m1", [bool(kind) for kind in _take(left, "attn_type_list")])
    fields["rope_base"] = _rope_base(left, 10_000_000.0)
    fields["rotary_dim"] = left.pop("rotary_dim", fields["head_dim"])
    fields["postnorm"] = left.pop("postnorm", False)
    fields["shared_intermediate_size"] = left.pop("shared_intermediate_size", 0)
    if fields["vocab_size"] == _M1_VOCABULARY:  # the published file leaves both unsaid
        fields["num_live_tokens"] = _M1_LIVE
        fields["eos_token_ids"] = fields["eos_token_ids"] or (_M1_EOS,)


def _read_minimax(left: dict[str, Any], fields: dict[str, Any]) -> None:
    kinds = _take(left, "layer_types")
    if unknown := sorted(set(kinds) - {"full_attention", "linear_attention"}):
        raise ValueError(f"layer_types has {unknown}; only full_attention and linear_attention can be computed")
    _read_experts(left, fields, "minimax", [kind == "full_attention" for kind in kinds])
    fields |= {"rope_base": _rope_base(left, 1_000_000.0), "rotary_dim": fields["head_dim"], "postnorm": True}


_READERS: dict[Family, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "minimax_m1": _read_minimax_m1,
    "minimax": _read_minimax,
    "llama": lambda left, fields: _read_dense(left, fields, qkv_bias=False),
    "qwen2": lambda left, fields: _read_dense(left, fields, qkv_bias=True),
}


def _check_expressible(config: ModelConfig, family: Family) -> None:
    """ValueError names the first fact of the config that the family's code would not compute."""
    dense = all(layer.feed_forward == "dense" for layer in config.layers)
    sparse = all(layer.feed_forward == "experts" for layer in config.layers)
    unit = ResidualScale()
    plain = (config.lightning_residual, config.softmax_residual, config.feed_forward_residual) == (unit,) * 3
    conditions: dict[Family, dict[str, bool]] = {
        "minimax_m1": {
            "dense feed-forward layers beside experts": not sparse and (not dense or config.num_experts > 0),
            "biases": config.qkv_bias,
        },
        "minimax": {
            "dense feed-forward layers": not sparse,
            "biases": config.qkv_bias,
            "a partial rotary embedding": config.rotary_dim != config.head_dim,
            "a shared expert": config.shared_intermediate_size > 0,
            "prenorm residuals": not config.postnorm,
            "an epsilon of the norm in lightning attention other than 1e-6": config.gate_norm_eps != 1e-6,
            "a number of heads that is no power of two": config.num_heads & (config.num_heads - 1) != 0,
        },
        "llama": {
            "lightning attention": bool(config.lightning_layers),
            "experts": not dense,
            "postnorm or scaled residuals": config.postnorm or not plain,
            "a partial rotary embedding": config.rotary_dim != config.head_dim,
        },
    }
    conditions["qwen2"] = conditions["llama"] | {"attention without biases": not config.qkv_bias}
    conditions["llama"]["biases"] = config.qkv_bias
    for fact, holds in conditions[family].items():
        if holds:
            raise ValueError(f"the {family} family cannot express {fact}")
