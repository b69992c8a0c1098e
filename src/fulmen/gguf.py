"""GGUF files to checkpoint folders: tensors, config, tokenizer and chat template of the llama architecture. No torch.

Quantised tensors are written as the float32 values that they stand for: nothing is lost, and the folder loads in any
software of the Llama family. The rows of the query and key projections are put back in the published order, which
llama.cpp's own converter changes for its rotary kernel.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

_CONTROL_TOKEN = 3
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PRE_TOKENIZERS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "smollm": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    ),
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
}
Progress = Callable[[int, int], None]
"""Called with (tensors done, tensors in all)."""


def convert_gguf(file: Path, folder: Path, *, progress: Progress | None = None) -> None:
    """Write a GGUF file as a checkpoint folder; the folder appears when it is complete.

    Raises:
        ValueError: the file is damaged, or holds what cannot be converted; the message names it.
    """
    try:
        reader = GGUFReader(file)
    except (ValueError, IndexError, OSError) as error:
        raise ValueError(f"{file} is no readable GGUF file: {error}") from error
    facts = {name: field.contents() for name, field in reader.fields.items()}
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _check_architecture(facts)
        tensors = _read_tensors(reader, facts, progress)
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        _write_json(temporary / "config.json", _config(facts, tied="lm_head.weight" not in tensors))
        _write_json(temporary / "generation_config.json", _end_tokens(facts))
        _tokenizer(facts).save(str(temporary / "tokenizer.json"))
        _write_json(temporary / "tokenizer_config.json", _tokenizer_config(facts))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fact(facts: dict[str, Any], key: str) -> Any:
    if key not in facts:
        raise ValueError(f"the GGUF file lacks {key}")
    return facts[key]


def _check_architecture(facts: dict[str, Any]) -> None:
    architecture = _fact(facts, "general.architecture")
    if architecture != "llama":
        raise ValueError(f"the GGUF file has architecture {architecture!r}; only llama can be converted")


def _read_tensors(
    reader: GGUFReader, facts: dict[str, Any], progress: Progress | None
) -> dict[str, np.ndarray[Any, Any]]:
    """All tensors in float32, by their published names."""
    heads = {
        "attn_q": _fact(facts, "llama.attention.head_count"),
        "attn_k": _fact(facts, "llama.attention.head_count_kv"),
    }
    tensors = {}
    for i, tensor in enumerate(reader.tensors):
        values = np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            values = _restore_rows(values, heads[kind])
        tensors[_published_name(tensor.name)] = values
        if progress is not None:
            progress(i + 1, len(reader.tensors))
    return tensors


def _published_name(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    match name.split("."):
        case ["blk", layer, kind, "weight"] if kind in _LAYER:
            return f"model.layers.{layer}.{_LAYER[kind]}.weight"
    raise ValueError(f"the GGUF file has a tensor {name!r} that the llama architecture does not know")


def _restore_rows(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Undo llama.cpp's interleaving: within each head, rows (0, 1), (2, 3), ... go back to the two halves."""
    half = rows.shape[0] // heads // 2
    return np.ascontiguousarray(rows.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape))


def _config(facts: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    heads, hidden = _fact(facts, "llama.attention.head_count"), _fact(facts, "llama.embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": len(_fact(facts, "tokenizer.ggml.tokens")),
        "hidden_size": hidden,
        "intermediate_size": _fact(facts, "llama.feed_forward_length"),
        "num_hidden_layers": _fact(facts, "llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": facts.get("llama.attention.head_count_kv", heads),
        "head_dim": hidden // heads,
        "max_position_embeddings": _fact(facts, "llama.context_length"),
        # Stored as float32: the shortest decimal that it stands for is the published value.
        "rms_norm_eps": float(str(np.float32(_fact(facts, "llama.attention.layer_norm_rms_epsilon")))),
        "rope_theta": facts.get("llama.rope.freq_base", 10_000.0),
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
    } | _end_tokens(facts)


def _end_tokens(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "bos_token_id": facts.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": _fact(facts, "tokenizer.ggml.eos_token_id"),
    }


def _tokenizer(facts: dict[str, Any]) -> Tokenizer:
    """Byte-level BPE from the file's vocabulary and merges."""
    kind, splitting = facts.get("tokenizer.ggml.model"), facts.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or splitting not in _PRE_TOKENIZERS:
        raise ValueError(f"the GGUF file has tokenizer {kind!r} ({splitting!r}); only byte-level BPE can be converted")
    tokens = _fact(facts, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in _fact(facts, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = _PRE_TOKENIZERS[splitting]()
    tokenizer.decoder = decoders.ByteLevel()
    types = _fact(facts, "tokenizer.ggml.token_type")
    control = [token for token, type_ in zip(tokens, types, strict=True) if type_ == _CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer


def _tokenizer_config(facts: dict[str, Any]) -> dict[str, Any]:
    tokens = _fact(facts, "tokenizer.ggml.tokens")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": _fact(facts, "llama.context_length"),
        "clean_up_tokenization_spaces": False,
        "chat_template": facts.get("tokenizer.chat_template"),
    }
    for key, name in (("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")):
        token_id = facts.get(f"tokenizer.ggml.{name}_token_id")
        if token_id is not None:
            config[key] = tokens[token_id]
    return config


def _write_json(file: Path, facts: dict[str, Any]) -> None:
    file.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
