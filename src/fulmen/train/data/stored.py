"""Samples out of a store, in an order that is new each epoch and known from the seed alone."""

import warnings
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fulmen.trace import TrainingSample
from fulmen.train.data.store import Document, TokenStore

TooLong = Literal["cut", "leave_out"]


class StoredSource:
    """A `SampleSource` over documents: sample i of the stream is the i-th of endless shuffled epochs.

    A document longer than `length` tokens is read in pieces of nearly equal size, or left out. Pieces share one
    token, the last of one being the first of the next, so that every token but a document's first is predicted.
    """

    def __init__(self, store: TokenStore, *, length: int, too_long: TooLong, seed: int) -> None:
        """Cut the documents.

        Args:
            store: the documents.
            length: most tokens of a sample.
            too_long: what becomes of a longer document; a cut conversation would begin with an answer to nothing.
            seed: of the order.

        Raises:
            ValueError: `length` has no room for a target, or no document fits.
        """
        if length < 2:
            raise ValueError(f"length is {length}; a sample needs at least a token and one to predict")
        self._store, self._seed = store, seed
        starts = np.concatenate([np.zeros(1, np.int64), store.ends[:-1]])
        targets = store.ends - starts - 1  # a document's first token is none
        if too_long == "leave_out":
            fits = targets < length
            if not fits.any():
                shortest = int(targets.min()) + 1
                raise ValueError(f"every document is longer than {length} tokens; the shortest has {shortest}")
            if not fits.all():
                left_out = len(fits) - int(fits.sum())
                warnings.warn(
                    f"left out {left_out} of {len(fits)} documents: longer than {length} tokens", stacklevel=2
                )
            starts, targets = starts[fits], targets[fits]
        self._starts, self._targets = starts, targets
        pieces = np.maximum(1, -(-targets // (length - 1)))
        self._piece_ends = pieces.cumsum()
        self._drawn = 0
        # An epoch's order is 8 bytes a piece; the one before is needed only by whoever goes back.
        self._order = lru_cache(maxsize=1)(self._shuffled)

    @property
    def num_samples(self) -> int:
        """Samples of an epoch."""
        return int(self._piece_ends[-1])

    def next(self) -> TrainingSample:
        """The next sample."""
        epoch, position = divmod(self._drawn, self.num_samples)
        self._drawn += 1
        piece = int(self._order(epoch)[position])
        document = int(np.searchsorted(self._piece_ends, piece, side="right"))
        first = int(self._piece_ends[document - 1]) if document else 0
        pieces = int(self._piece_ends[document]) - first
        start, targets = int(self._starts[document]), int(self._targets[document])
        begin = start + (piece - first) * targets // pieces
        end = start + (piece - first + 1) * targets // pieces + 1
        mask = (False, *self._store.trained[begin + 1 : end].tolist())
        return Document(ids=tuple(self._store.tokens[begin:end].tolist()), trained=mask).sample()

    def state_dict(self) -> dict[str, Any]:
        """The position: samples drawn, and what they were drawn from."""
        return {"drawn": self._drawn, "store": self._store.key, "samples": self.num_samples}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; ValueError if the data is another now."""
        if (state["store"], state["samples"]) != (self._store.key, self.num_samples):
            raise ValueError(
                "the data is not what the checkpoint was trained on: files, tokenizer or length have changed. Restore "
                "them, or begin a new run in another folder"
            )
        self._drawn = state["drawn"]

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self._seed, epoch)).permutation(self.num_samples)
