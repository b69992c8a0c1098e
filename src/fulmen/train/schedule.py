"""The learning rate of each step: warmup, plateau, decay. No torch here."""

import math

from fulmen.train.settings import ScheduleSettings


def scale(schedule: ScheduleSettings, step: int, steps: int) -> float:
    """The factor of the peak learning rate at `step` (from 0) of a stage of `steps` steps.

    Warmup rises as `(step + 1) / (warmup_steps + 1)`, and the decay falls likewise over the last `D = decay_fraction *
    steps` steps, `(1, ..., D) / (D + 1)` of its way from 1 to `final_fraction`, so that no step is wasted on a rate of
    0. Where the two overlap, the smaller factor holds.
    """
    warmup = min(1.0, (step + 1) / (schedule.warmup_steps + 1))
    decay_steps = round(schedule.decay_fraction * steps)
    progress = max(0, step + 1 - (steps - decay_steps)) / (decay_steps + 1)
    shape = 1 - progress if schedule.shape == "linear" else 1 - math.sqrt(progress)
    return min(warmup, schedule.final_fraction + (1 - schedule.final_fraction) * shape)
