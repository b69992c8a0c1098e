"""The guard on the gradient norm, which ends a spike before it reaches the weights. No torch here."""

from collections import deque
from statistics import median
from typing import Any

from fulmen.train.settings import GuardSettings


class NormGuard:
    """Compares each step's gradient norm with the running median, and counts the rollbacks of the stage.

    Example::

        guard = NormGuard(GuardSettings(threshold=8.0, window=3), steps=100)
        [guard.trips(norm) for norm in (1.0, 1.2, 1.1, 2.0, 50.0)]  # the last alone is True
    """

    def __init__(self, settings: GuardSettings, *, steps: int) -> None:
        """Watch over a stage of so many steps."""
        self.settings = settings
        self.window = min(settings.window, max(1, steps // 2))
        """Steps of the running median: those of the settings, or half of a stage that is shorter than two windows."""
        self.rollbacks = 0
        self.tripped: int | None = None
        """The step at which the run went back last."""
        self._norms: deque[float] = deque(maxlen=self.window)

    def trips(self, norm: float) -> bool:
        """Whether the norm is a spike; one that isn't joins the median."""
        if len(self._norms) == self.window and norm > self.settings.threshold * median(self._norms):
            return True
        self._norms.append(norm)
        return False

    @property
    def slow_down(self) -> float:
        """The factor of the learning rate after the rollbacks so far."""
        return self.settings.slow_down**self.rollbacks

    def state_dict(self) -> dict[str, Any]:
        """What it has seen, JSON-able."""
        return {"rollbacks": self.rollbacks, "tripped": self.tripped, "norms": list(self._norms)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.rollbacks, self.tripped = state["rollbacks"], state.get("tripped")  # of earlier versions it has none
        self._norms = deque(state["norms"], maxlen=self.window)
