"""Where training samples come from: the protocol that data sources follow and the packer reads."""

from typing import Any, Protocol

from fulmen.trace import TrainingSample


class SampleSource(Protocol):
    """An endless, deterministic stream of samples that can continue exactly where it was.

    Every process of a run holds the same source in the same position and trains on its share of what it yields.
    """

    def next(self) -> TrainingSample:
        """The next sample, no longer than the stage's sequence length."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The position, as JSON-able values; `load_state_dict` of a source built alike continues from there."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, to the very next sample."""
        ...
