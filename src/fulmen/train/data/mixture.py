"""Several sources as one, in shares of tokens."""

from collections.abc import Mapping
from typing import Any

from fulmen.trace import TrainingSample
from fulmen.train.source import SampleSource


class Mixture:
    """A `SampleSource` that always draws from the source that is furthest behind its share of the tokens so far.

    Nothing is random, so the shares hold at every point of a run to within a few samples, however the lengths of
    samples differ.

    Example: `Mixture({"books": (books, 3.0), "addition": (addition, 1.0)})`: three of four tokens are from books.
    """

    def __init__(self, sources: Mapping[str, tuple[SampleSource, float]]) -> None:
        """Mix sources by name, each with its weight."""
        total = sum(weight for _, weight in sources.values())
        self._sources = {name: source for name, (source, _) in sources.items()}
        self._shares = {name: weight / total for name, (_, weight) in sources.items()}
        self.tokens = dict.fromkeys(sources, 0)
        """Tokens drawn so far, by source."""

    def next(self) -> TrainingSample:
        """The next sample."""
        total = sum(self.tokens.values())
        name = max(self._shares, key=lambda name: self._shares[name] * total - self.tokens[name])
        sample = self._sources[name].next()
        self.tokens[name] += len(sample.token_ids)
        return sample

    def state_dict(self) -> dict[str, Any]:
        """The position: tokens drawn and the position of each source."""
        return {name: {"tokens": self.tokens[name], "state": s.state_dict()} for name, s in self._sources.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; ValueError if the sources are others now."""
        if state.keys() != self._sources.keys():
            changed = sorted(state.keys() ^ self._sources.keys())
            raise ValueError(
                f"the checkpoint's data and the configuration's differ in {', '.join(changed)}. Restore that, or begin "
                "a new run in another folder"
            )
        for name, source in self._sources.items():
            self.tokens[name] = state[name]["tokens"]
            source.load_state_dict(state[name]["state"])
