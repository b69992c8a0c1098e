"""The learning rate of each step: warmup, plateau, decay. No torch here."""

import math

from fulmen.train.settings import ScheduleSettings


def scale(schedule: ScheduleSettings, step: int, steps: int) -> float:
    """The factor of the peak learning rate at `step` (from 0) of a stage of `steps` steps.

    Warmup rises as `(step + 1) / (warmup_steps + 1)`, so the first step moves already. The decay runs over the last
    `decay_fraction * steps` steps from 1 down to `final_fraction`, which it reaches with the last step; where it
    overlaps the warmup, the smaller factor holds.
    """
    warmup = min(1.0, (step + 1) / (schedule.warmup_steps + 1))
    decay_steps = round(schedule.decay_fraction * steps)
    progress = max(0.0, (step + 1 - (steps - decay_steps)) / decay_steps) if decay_steps else 0.0
    shape = 1 - progress if schedule.shape == "linear" else 1 - math.sqrt(progress)
    return min(warmup, schedule.final_fraction + (1 - schedule.final_fraction) * shape)
