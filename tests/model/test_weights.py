"""Checkpoints are complete, of the right shapes, and atomic, or they are refused by the name of tensor and file."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fulmen.config import MINIMAX_M1, ModelConfig, ResidualScale, hybrid_layers
from fulmen.model import weights
from fulmen.model.decoder import Decoder
from fulmen.model.layouts import pieces
from fulmen.model.quantize import quantize_
from fulmen.model.weights import CheckpointError, load_checkpoint, save_checkpoint

TINY = ModelConfig(
    vocab_size=50,
    hidden_size=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    layers=hybrid_layers(2, softmax_every=2),
    intermediate_size=12,
    num_experts=3,
    experts_per_token=2,
    shared_intermediate_size=8,
    postnorm=True,
    lightning_residual=ResidualScale(alpha=2.0),
    rotary_dim=4,
    initializer_range=0.3,
)


@pytest.fixture
def folder(tmp_path) -> Path:
    save_checkpoint(Decoder(TINY).initialize(seed=0), tmp_path / "model", family="minimax_m1")
    return tmp_path / "model"


def edit(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def same(a: Decoder, b: Decoder) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("shard", [1 << 30, 3000])
def test_what_is_saved_is_what_loads(tmp_path, shard) -> None:
    model = Decoder(TINY).initialize(seed=1)
    save_checkpoint(model, tmp_path / "m", family="minimax_m1", max_shard_bytes=shard)
    assert (tmp_path / "m" / weights.INDEX).exists() == (shard == 3000)
    loaded = load_checkpoint(tmp_path / "m")
    assert same(loaded, model)
    assert loaded.config == TINY
    assert not any(p.requires_grad for p in loaded.parameters())


def test_gates_stay_float32_in_bfloat16(folder) -> None:
    model = load_checkpoint(folder, dtype=torch.bfloat16)
    kinds = {name: p.dtype for name, p in model.named_parameters()}
    assert {dtype for name, dtype in kinds.items() if "gate.weight" in name and "moe" in name} == {torch.float32}
    assert kinds["model.embed_tokens.weight"] == torch.bfloat16


def test_a_missing_tensor_is_named(folder) -> None:
    edit(folder, lambda t: t.pop("model.layers.1.block_sparse_moe.experts.2.w3.weight"))
    with pytest.raises(CheckpointError, match=r"lacks model\.layers\.1\.block_sparse_moe\.experts\.2\.w3"):
        load_checkpoint(folder)


def test_an_unexpected_tensor_is_named(folder) -> None:
    edit(folder, lambda t: t.update({"model.layers.0.surprise": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match=r"unexpected model\.layers\.0\.surprise in model\.safetensors"):
        load_checkpoint(folder)


def test_a_misshapen_tensor_is_named_with_both_shapes(folder) -> None:
    edit(folder, lambda t: t.update({"model.norm.weight": torch.zeros(17)}))
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight in .*safetensors has shape \[17\].*\[16\]"):
        load_checkpoint(folder)


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_a_truncated_file_is_named(folder, keep) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or cut off"):
        load_checkpoint(folder)


def test_a_missing_shard_is_named(tmp_path) -> None:
    save_checkpoint(Decoder(TINY).initialize(seed=1), tmp_path / "m", family="minimax_m1", max_shard_bytes=3000)
    gone = sorted((tmp_path / "m").glob("model-*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(CheckpointError, match=gone.name):
        load_checkpoint(tmp_path / "m")


def test_pickles_are_refused(folder) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle"):
        load_checkpoint(folder)


def test_a_failed_save_leaves_the_old_checkpoint(folder, monkeypatch) -> None:
    before = load_checkpoint(folder)

    def full_disk(*args, **kwargs) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(weights, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(Decoder(TINY).initialize(seed=9), folder, family="minimax_m1")
    assert same(load_checkpoint(folder), before)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_quantized_model_is_refused_and_leaves_the_old_checkpoint(folder) -> None:
    before = load_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"quantized to int8.*Load it without `quantize`"):
        save_checkpoint(quantize_(load_checkpoint(folder), "int8"), folder, family="minimax_m1")
    assert same(load_checkpoint(folder), before)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_saving_again_keeps_the_tokenizer_and_drops_old_shards(tmp_path) -> None:
    model = Decoder(TINY).initialize(seed=1)
    save_checkpoint(model, tmp_path / "m", family="minimax_m1", max_shard_bytes=3000)
    (tmp_path / "m" / "tokenizer.json").write_text("{}")
    save_checkpoint(model, tmp_path / "m", family="minimax_m1")
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json"}


def test_saving_again_keeps_folders_and_code(folder) -> None:
    (folder / "runs").mkdir()
    (folder / "runs" / "one.txt").write_text("one")
    (folder / "modeling_minimax_m1.py").write_text("# code")
    save_checkpoint(load_checkpoint(folder), folder, family="minimax_m1")
    assert (folder / "runs" / "one.txt").read_text() == "one"
    assert (folder / "modeling_minimax_m1.py").read_text() == "# code"


def test_families_refuse_what_they_cannot_express(tmp_path) -> None:
    for family, fact in (("minimax", "partial rotary"), ("llama", "lightning attention")):
        with pytest.raises(ValueError, match=fact):
            save_checkpoint(Decoder(TINY), tmp_path / "m", family=family)
    assert not (tmp_path / "m").exists()


def test_the_published_m1_maps_onto_our_parameters_to_the_byte() -> None:
    """Names from the index that MiniMaxAI published; sizes from its total: bfloat16, and float32 for the gates."""
    model = Decoder(MINIMAX_M1, dtype=torch.bfloat16, device="meta")
    keys = [part.key for name, _ in model.named_parameters() for part in pieces(name, MINIMAX_M1)]
    index = json.loads(gzip.decompress((Path(__file__).parent / "minimax_m1_index.json.gz").read_bytes()))
    assert sorted(keys) == sorted(index["weight_map"])
    assert sum(p.numel() for p in model.parameters()) == 456_089_655_296
    assert sum(p.numel() * p.element_size() for p in model.parameters()) == 912_210_767_872


LOAD = """
import re, sys, threading, time
import torch
from pathlib import Path
from fulmen.config_formats import read_config_file
from fulmen.model.decoder import Decoder
from fulmen.model.weights import load_checkpoint
torch.set_num_threads(1)
folder = Path(sys.argv[1])
Decoder(read_config_file(folder / "config.json"), device="meta")  # torch imports 60 MB for the first such model
def anonymous():  # kB that are no pages of a file
    return int(re.search(r"RssAnon:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
before, seen, done = anonymous(), [], threading.Event()
def watch():
    while not done.is_set():
        seen.append(anonymous())
        time.sleep(0.001)
watcher = threading.Thread(target=watch)
watcher.start()
model = load_checkpoint(folder)
done.set()
watcher.join()
print(max(*seen, anonymous()) - before)
"""


def test_loading_holds_one_copy_and_a_mapped_tensor(tmp_path) -> None:
    config = TINY.replace(hidden_size=512, intermediate_size=1024, num_experts=16)
    model = Decoder(config).initialize(seed=0)
    size = sum(p.numel() * p.element_size() for p in model.parameters()) / 1024
    save_checkpoint(model, tmp_path / "m", family="minimax_m1", max_shard_bytes=16 << 20)
    out = subprocess.run([sys.executable, "-c", LOAD, str(tmp_path / "m")], capture_output=True, text=True, check=True)
    assert size > 190_000
    # Mapped pages of the files are no part of it: the kernel drops them when it needs the room.
    assert 0.95 * size < int(out.stdout) < 1.05 * size
