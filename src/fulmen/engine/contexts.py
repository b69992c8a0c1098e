"""Saved contexts: the pages and states after a text, in one safetensors file, so that it is prefilled once.

The file names the model that it belongs to by a fingerprint of its config and of samples of its weights; another
model's file is refused. Written to a temporary name and renamed, so that a cut-off write leaves the old file.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fulmen.engine.prefixes import Snapshot
from fulmen.model.cache import HybridCache
from fulmen.model.decoder import Decoder

FORMAT = "fulmen-context-1"
NO_NOTES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Context:
    """A context as read from a file.

    keys, values: [softmax layers, tokens, kv_heads, head_dim]; states: [lightning layers, heads, head_dim, head_dim].
    """

    token_ids: tuple[int, ...]
    keys: Tensor
    values: Tensor
    states: Tensor

    def copy_to(self, cache: HybridCache, pages: Sequence[int], slot: int) -> None:
        """Write it into pages and a slot of a cache."""
        cache.states[:, slot] = self.states.to(cache.states)
        for source, target in ((self.keys, cache.keys), (self.values, cache.values)):
            for page, block in zip(pages, source.split(cache.page_size, dim=1), strict=bool(pages)):
                target[:, page, : block.shape[1]] = block.to(target)


def fingerprint(model: Decoder) -> str:
    """Identifies a config and its weights: a hash over the config and 64 values of each parameter."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(model.config), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, len(flat) // 64)][:64].float().cpu()
        digest.update(name.encode() + sample.numpy().tobytes())
    return digest.hexdigest()


def write_context(
    path: Path,
    cache: HybridCache,
    snapshot: Snapshot,
    token_ids: Sequence[int],
    model: Decoder,
    notes: Mapping[str, str],
) -> None:
    """Write the context of a snapshot after `token_ids` to `path`, atomically; `notes` are for `read_notes`."""
    length = len(token_ids)
    tensors = {
        "token_ids": torch.tensor(token_ids, dtype=torch.int64),
        "states": cache.states[:, snapshot.slot].cpu().contiguous(),
    }
    for name, source in (("keys", cache.keys), ("values", cache.values)):
        rows = source[:, snapshot.pages].flatten(1, 2)  # [layers, pages * page_size, kv_heads, head_dim]
        tensors[name] = rows[:, :length].cpu().contiguous()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        own = {"fingerprint": fingerprint(model), "precision": model.precision}
        save_file(tensors, temporary, metadata={**notes, **own, "format": FORMAT, "tokens": str(length)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except SafetensorError as error:  # how the library reports a full disk or a missing folder
        raise OSError(f"{path} could not be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_context(path: Path, model: Decoder) -> Context:
    """Read a saved context; ValueError when the file is damaged or belongs to another model."""
    notes = read_notes(path)
    if notes["fingerprint"] != fingerprint(model):
        if (saved := notes.get("precision", model.precision)) != model.precision:
            raise ValueError(
                f"{path} was saved from weights in {saved}, and these are in {model.precision}: "
                "load it with the model and the precision that saved it"
            )
        raise ValueError(f"{path} was saved from another model: load it with the model that saved it")
    with _open(path) as file:
        tensors = {name: file.get_tensor(name) for name in ("token_ids", "keys", "values", "states")}
    token_ids = tuple(tensors.pop("token_ids").tolist())
    return Context(token_ids=token_ids, **tensors)


def read_notes(path: Path) -> Mapping[str, str]:
    """What was noted when a context was saved, its number of `tokens` too; ValueError when it is no saved context."""
    with _open(path) as file:
        notes: dict[str, str] = file.metadata() or {}
    if notes.get("format") != FORMAT:
        raise ValueError(f"{path} is no saved context of this version ({FORMAT})")
    return notes


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or cut off: {error}") from error
