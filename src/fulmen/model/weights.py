"""Checkpoints: a folder in the Hugging Face layout to a `Decoder` and back, strictly and without a second copy.

Loading streams: the model is built without memory, then each parameter is filled from the mapped files, tensor by
tensor. Whatever is missing, unexpected, misshapen or cut off is an error that names the tensor and the file. Weights
are read from safetensors only: other formats can run code.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fulmen.config import ModelConfig
from fulmen.config_formats import Family, read_config_file, write_config
from fulmen.model.decoder import Decoder
from fulmen.model.layouts import is_derived, pieces

INDEX = "model.safetensors.index.json"


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the tensor and the file."""


def load_checkpoint(path: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Decoder:
    """Load a checkpoint folder for inference: no parameter asks for gradients.

    `dtype` is that of all weights but the router gates, which stay float32. Peak memory is the model and one tensor.
    """
    config_file = path / "config.json"
    if not config_file.is_file():
        raise CheckpointError(f"{path} has no config.json: it is no checkpoint folder")
    config = read_config_file(config_file)
    model = Decoder(config, dtype=dtype, device="meta")
    with _Shards(path) as shards:
        wanted = {name: list(pieces(name, config)) for name, _ in model.named_parameters()}
        shards.check({piece.key for parts in wanted.values() for piece in parts}, config)
        for name, parts in wanted.items():
            parameter = model.get_parameter(name)
            filled = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            for part in parts:
                target = filled[part.index]
                target.copy_(shards.read(part.key, tuple(target.shape)))
            _replace(model, name, nn.Parameter(filled, requires_grad=False))
    if config.tied_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model.eval()


def save_checkpoint(model: Decoder, path: Path, *, family: Family, max_shard_bytes: int = 4 << 30) -> None:
    """Write a checkpoint folder that other software of the family loads; the config is written, a tokenizer is not.

    Everything is written to a folder beside `path`, read back and renamed; a failure leaves what was there before.
    CheckpointError if the model is quantized: no family has a place for its scales.
    """
    if model.precision == "int8":
        raise CheckpointError(
            f"the model is quantized to int8, which no checkpoint folder can hold: nothing is written to {path}. "
            "Load it without `quantize` and save that"
        )
    config_facts = write_config(model.config, family)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        weight_map = _write_shards(model, temporary, max_shard_bytes)
        dtype = str(model.model.embed_tokens.weight.dtype).removeprefix("torch.")
        _write_json(temporary / "config.json", config_facts | {"torch_dtype": dtype})
        with _Shards(temporary) as shards:
            shards.check(set(weight_map), model.config)
            for name, parameter in model.named_parameters():
                for part in pieces(name, model.config):
                    source = parameter.detach()[part.index].cpu()
                    if not torch.equal(shards.read(part.key, tuple(source.shape)), source):
                        raise CheckpointError(f"{part.key} reads back differently from {temporary}")
        for file in path.iterdir() if path.is_dir() else ():
            # What is no weight stays: the tokenizer, the card, folders.
            if not (temporary / file.name).exists() and not file.match("model*.safetensors*"):
                copy = shutil.copytree if file.is_dir() else shutil.copy2
                copy(file, temporary / file.name)
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Shards:
    """The mapped safetensors files of a checkpoint folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[Path, Any] = {}
        index = path / INDEX
        if index.is_file():
            self._file_of = {key: path / name for key, name in _weight_map(index).items()}
        elif (path / "model.safetensors").is_file():
            file = path / "model.safetensors"
            self._file_of = dict.fromkeys(self._open(file).keys(), file)
        else:
            raise CheckpointError(f"{path} has no model.safetensors and no {INDEX}; {self._pickles()}")

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, *error: object) -> None:
        self._files.clear()

    def check(self, wanted: set[str], config: ModelConfig) -> None:
        """Compare the keys of the files with those that the config asks for."""
        found = {key for key in self._file_of if not is_derived(key)}
        if config.tied_embeddings:
            found.discard("lm_head.weight")
        missing, unexpected = sorted(wanted - found), sorted(found - wanted)
        if missing:
            raise CheckpointError(f"{self._path} lacks {_some(missing)}")
        if unexpected:
            file = self._file_of[unexpected[0]].name
            raise CheckpointError(f"{self._path} has unexpected {_some(unexpected)} in {file}")

    def read(self, key: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor of the files, mapped; CheckpointError if it is not there or has another shape."""
        file = self._file_of[key]
        try:
            tensor: Tensor = self._open(file).get_tensor(key)
        except SafetensorError as error:
            raise CheckpointError(f"{key} cannot be read from {file}: {error}") from error
        if tuple(tensor.shape) != shape:
            raise CheckpointError(f"{key} in {file} has shape {list(tensor.shape)}; the config asks for {list(shape)}")
        return tensor

    def _open(self, file: Path) -> Any:
        if file not in self._files:
            if not file.is_file():
                raise CheckpointError(f"{file} is missing: the index lists it")
            try:
                self._files[file] = safe_open(file, framework="pt").__enter__()
            except SafetensorError as error:
                raise CheckpointError(f"{file} is damaged or cut off: {error}") from error
        return self._files[file]

    def _pickles(self) -> str:
        names = [file.name for file in self._path.glob("*") if file.suffix in (".bin", ".pt", ".pth")]
        if names:
            return f"{names[0]} is a pickle, which can run code: convert it to safetensors where you trust it"
        return "nothing to load"


def _weight_map(index: Path) -> dict[str, str]:
    """Which file holds which tensor, as an index says; CheckpointError names the index if it is damaged."""
    try:
        facts = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{index} is no JSON ({error}): it is damaged or cut off, copy it again") from error
    listed = facts.get("weight_map") if isinstance(facts, dict) else None
    if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
        raise CheckpointError(f"{index} has no weight_map from tensors to files: it is damaged, copy it again")
    return listed


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _replace(model: nn.Module, name: str, parameter: nn.Parameter) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner), attribute, parameter)


def _tensors(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the file with its key, as views of the parameters."""
    for name, parameter in model.named_parameters():
        for part in pieces(name, model.config):
            yield part.key, parameter.detach()[part.index]


def _write_shards(model: Decoder, folder: Path, max_bytes: int) -> dict[str, str]:
    """Write the shards and the index; returns which file holds which tensor."""
    groups: list[dict[str, Tensor]] = [{}]
    size = total = 0
    for key, tensor in _tensors(model):
        if groups[-1] and size + tensor.nbytes > max_bytes:
            groups.append({})
            size = 0
        groups[-1][key] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
    weight_map: dict[str, str] = {}
    for i, group in enumerate(groups):
        name = "model.safetensors" if len(groups) == 1 else f"model-{i + 1:05}-of-{len(groups):05}.safetensors"
        save_file({key: tensor.cpu().contiguous() for key, tensor in group.items()}, folder / name, {"format": "pt"})
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
        weight_map |= dict.fromkeys(group, name)
    if len(groups) > 1:
        _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    return weight_map


def _write_json(file: Path, facts: dict[str, Any]) -> None:
    file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _swap(temporary: Path, path: Path) -> None:
    """Put the finished folder in the place of the old one."""
    old = path.with_name(f".{path.name}.old.{os.getpid()}")
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    shutil.rmtree(old, ignore_errors=True)
