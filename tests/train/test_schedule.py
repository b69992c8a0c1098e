"""The learning rate rises, stays and falls as its formula says."""

import pytest

from fulmen.train.schedule import scale
from fulmen.train.settings import ScheduleSettings


def test_warmup_plateau_and_decay_by_hand() -> None:
    schedule = ScheduleSettings(warmup_steps=3, decay_fraction=0.3, final_fraction=0.2)
    expected = [0.25, 0.5, 0.75, 1, 1, 1, 1, 0.8, 0.6, 0.4]
    assert [scale(schedule, step, 10) for step in range(10)] == pytest.approx(expected)


def test_the_square_root_falls_faster_first() -> None:
    schedule = ScheduleSettings(decay_fraction=1.0, shape="sqrt")
    assert [scale(schedule, step, 3) for step in range(3)] == pytest.approx([0.5, 1 - 0.5**0.5, 1 - 0.75**0.5])


def test_without_decay_the_rate_stays() -> None:
    assert scale(ScheduleSettings(decay_fraction=0.0), 99, 100) == 1.0
