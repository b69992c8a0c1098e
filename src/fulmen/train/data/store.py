"""Tokenised documents in memory-mapped files: tokenised once, then read by every run that wants the same.

A store is a folder named by a hash of all that it was made from (`files` makes it). It is written under another name
and renamed, so that a kill leaves none or a whole one, and processes that write the same one don't mind each other.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fulmen.trace import TrainingSample

_TOKENS, _TRAINED, _ENDS, _FACTS = "tokens.bin", "trained.bin", "ends.bin", "facts.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One document or conversation in tokens.

    Example: `Document(ids=(1, 9, 8, 2), trained=(False, False, True, True))`: a reply of two tokens.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    """True where the token is a target."""

    def sample(self) -> TrainingSample:
        """The document as one sample, every target of weight 1."""
        return TrainingSample(token_ids=self.ids, mask=self.trained, weights=tuple(map(float, self.trained)))


@dataclass(frozen=True, kw_only=True)
class TokenStore:
    """Documents one after the other.

    Example: with `ends` of [4, 6], `tokens[4:6]` is the second of two documents.
    """

    key: str
    tokens: NDArray[np.uint32] | NDArray[np.uint16]
    trained: NDArray[np.bool_]
    """As long as `tokens`."""
    ends: NDArray[np.int64]
    """Where each document ends in `tokens`."""
    skipped: tuple[str, ...]
    """What was wrong with the lines that were left out."""


def open_store(folder: Path) -> TokenStore | None:
    """Map a store; None if there is none, or one whose files have other sizes than they should."""
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        store = TokenStore(
            key=folder.name,
            tokens=_map(folder / _TOKENS, np.dtype(facts["dtype"])),
            trained=_map(folder / _TRAINED, np.dtype(np.bool_)),
            ends=_map(folder / _ENDS, np.dtype(np.int64)),
            skipped=tuple(facts["skipped"]),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
    sizes = (len(store.ends), len(store.tokens), len(store.trained))
    return store if sizes == (facts["documents"], facts["tokens"], facts["tokens"]) else None


def write_store(folder: Path, documents: Iterable[Document | str], *, vocab_size: int) -> TokenStore:
    """Write a store; a string among the documents says why something was left out.

    Raises:
        ValueError: whatever reading the documents raises; nothing is left behind then.
    """
    dtype = np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        skipped: list[str] = []
        count = end = 0
        with (
            (temporary / _TOKENS).open("wb") as tokens,
            (temporary / _TRAINED).open("wb") as trained,
            (temporary / _ENDS).open("wb") as ends,
        ):
            for document in documents:
                if isinstance(document, str):
                    skipped.append(document)
                    continue
                count, end = count + 1, end + len(document.ids)
                tokens.write(np.array(document.ids, dtype).tobytes())
                trained.write(np.array(document.trained, np.bool_).tobytes())
                ends.write(np.array([end], np.int64).tobytes())
        facts = {"documents": count, "tokens": end, "dtype": dtype.name, "skipped": skipped}
        (temporary / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
        if open_store(folder) is None:  # another process may have been faster
            shutil.rmtree(folder, ignore_errors=True)
            try:
                temporary.rename(folder)
            except OSError:  # or faster since then
                if open_store(folder) is None:
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    store = open_store(folder)
    if store is None:
        raise OSError(f"the tokens written to {folder} can't be read back")
    return store


def _map(path: Path, dtype: "np.dtype[Any]") -> NDArray[Any]:
    if not path.stat().st_size:  # can't be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")
