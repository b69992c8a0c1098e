"""Settings refuse what cannot be trained with, and say what to change."""

from typing import Any

import pytest
from tiny_training import stage

from fulmen.train.settings import CheckpointSettings, GuardSettings, OptimizerSettings, ScheduleSettings


@pytest.mark.parametrize(
    ("kind", "facts", "message"),
    [
        (OptimizerSettings, {"learning_rate": 0.0}, "learning_rate is 0.0"),
        (OptimizerSettings, {"learning_rate": float("nan")}, "learning_rate is nan"),
        (OptimizerSettings, {"learning_rate": 1.0, "betas": (0.9, 1.0)}, r"betas are \(0.9, 1.0\)"),
        (OptimizerSettings, {"learning_rate": 1.0, "clip_norm": -1.0}, "left out for no clipping"),
        (ScheduleSettings, {"warmup_steps": -1}, "warmup_steps is -1"),
        (ScheduleSettings, {"decay_fraction": 1.5}, "decay_fraction is 1.5"),
        (ScheduleSettings, {"shape": "cosine"}, "shape is 'cosine'"),
        (GuardSettings, {"threshold": 1.0}, "threshold is 1.0"),
        (GuardSettings, {"slow_down": 1.0}, "slow_down is 1.0"),
        (CheckpointSettings, {"every_steps": 0}, "every_steps is 0"),
        (CheckpointSettings, {"keep": 0}, "keep is 0"),
        (stage, {"name": "../up"}, "name is '../up'"),
        (stage, {"tokens": 0}, "tokens is 0"),
        (stage, {"length": 33}, "length 33 is above tokens_per_micro_batch 32"),
        (stage, {"tokens_per_step": 100}, "tokens_per_step 100 is not a multiple"),
    ],
)
def test_a_bad_value_is_named(kind: Any, facts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**facts)


def test_a_stage_takes_its_budget_in_whole_steps() -> None:
    assert (stage(tokens=129).steps, stage(tokens=128).steps, stage().micro_batches) == (2, 1, 4)
