"""The guard trips on spikes only, never before it knows what is usual, and continues where it was."""

import json

from fulmen.train.guard import NormGuard
from fulmen.train.settings import GuardSettings

SETTINGS = GuardSettings(threshold=4.0, window=3, slow_down=0.5)


def test_a_spike_trips_and_does_not_count_as_usual() -> None:
    guard = NormGuard(SETTINGS, steps=100)
    assert [guard.trips(norm) for norm in (9.0, 1.0, 1.2, 1.1)] == [False] * 4
    assert guard.trips(4.9)  # the median of 1.0, 1.2, 1.1 is 1.1
    assert not guard.trips(4.3)
    assert guard.trips(6.0)


def test_half_of_a_short_stage_is_guarded() -> None:
    for steps, asleep in ((1, 1), (4, 2), (13, 6), (128, 64), (1000, 64)):
        guard = NormGuard(GuardSettings(), steps=steps)
        assert [guard.trips(1.0) for _ in range(asleep)] == [False] * asleep
        assert guard.trips(11.0)
    assert not NormGuard(GuardSettings(), steps=13).trips(11.0)


def test_state_survives_json() -> None:
    guard, other = NormGuard(SETTINGS, steps=100), NormGuard(SETTINGS, steps=100)
    for norm in (1.0, 1.0, 1.0):
        guard.trips(norm)
    guard.rollbacks = 2
    other.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    assert other.trips(4.5)
    assert other.slow_down == 0.25
