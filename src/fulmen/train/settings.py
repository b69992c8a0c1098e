"""What a training run is told: stages with their optimizer, schedule and guard, and how checkpoints are kept.

No torch here: the command line reads and checks a configuration without it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

DecayShape = Literal["linear", "sqrt"]
Precision = Literal["float32", "bfloat16"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """AdamW. Weight decay applies to matrices only, never to norms, biases and the embedding.

    Example: `OptimizerSettings(learning_rate=2e-3, weight_decay=0.1)`.
    """

    learning_rate: float
    """The peak, which the schedule scales."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-15
    """The M1 report (section 3.2) found gradients from 1e-18 to 1e-5: a usual 1e-8 would silence most weights."""
    weight_decay: float = 0.1
    clip_norm: float | None = 1.0
    """Gradients are scaled down to this norm; None: never."""

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, f"learning_rate is {self.learning_rate}; it must be positive")
        _require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"betas are {self.betas}; two numbers within [0, 1) are needed",
        )
        _require(self.eps > 0, f"eps is {self.eps}; it must be positive")
        _require(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; it must not be negative")
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            f"clip_norm is {self.clip_norm}; it must be positive, or left out for no clipping",
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """Warmup-stable-decay: a rise to the peak learning rate, a plateau, and a fall at the end of the stage.

    Example: `ScheduleSettings(warmup_steps=100, decay_fraction=0.2)`.
    """

    warmup_steps: int = 0
    decay_fraction: float = 0.2
    """The last part of the stage's steps, in which the learning rate falls; 0: it never falls."""
    final_fraction: float = 0.0
    """What is left of the peak where the decay ends, right after the last step."""
    shape: DecayShape = "linear"
    """`sqrt` falls fast first: 1 - sqrt(x) of the decay's progress x, after Haegele et al. (2024)."""

    def __post_init__(self) -> None:
        _require(self.warmup_steps >= 0, f"warmup_steps is {self.warmup_steps}; it must not be negative")
        for name in ("decay_fraction", "final_fraction"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"{name} is {value}; it must be within 0..1")
        _require(self.shape in ("linear", "sqrt"), f"shape is {self.shape!r}; known are linear and sqrt")


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """The guard on the gradient norm: a spike rolls the run back to the last good checkpoint and slows it down. Where
    the same step spikes again its batch is left out.

    Example: `GuardSettings(threshold=8.0, window=50)`: a norm above 8 times the median of the last 50 trips it.
    """

    threshold: float = 10.0
    """Trips where the norm exceeds this multiple of the running median."""
    window: int = 64
    """Steps of the running median, at most half of the stage's; the guard sleeps until it has seen as many, and a
    checkpoint counts as good once as many steps have followed it (if none has, the oldest of the stage is taken)."""
    slow_down: float = 0.5
    """Each trip multiplies the learning rate of the rest of the stage by this."""
    max_rollbacks: int = 3
    """One trip more within a stage ends the run."""

    def __post_init__(self) -> None:
        _require(self.threshold > 1, f"threshold is {self.threshold}; it must be above 1")
        _require(self.window >= 1, f"window is {self.window}; it must be at least 1")
        _require(0 < self.slow_down < 1, f"slow_down is {self.slow_down}; it must lie between 0 and 1")
        _require(self.max_rollbacks >= 0, f"max_rollbacks is {self.max_rollbacks}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """One stage of a run: so many tokens, of sequences up to a length, under one optimizer and schedule.

    A stage starts from weights alone: the moments of the optimizer and the schedule begin anew.

    Example::

        StageSettings(
            name="pretrain", length=1024, tokens=20_000_000, tokens_per_step=32_768, tokens_per_micro_batch=8192,
            optimizer=OptimizerSettings(learning_rate=2e-3),
        )
    """

    name: str
    """Names the folder of the stage's weights; letters, digits, `-` and `_`."""
    length: int
    """Most tokens of one sequence."""
    tokens: int
    """Budget of the whole stage in tokens, trained on or not: as many steps as full ones would be. What does not fit
    into a micro-batch any more opens the next one, so that somewhat less is read."""
    tokens_per_step: int
    """Tokens per update of the weights, over all micro-batches and processes."""
    tokens_per_micro_batch: int
    """Most tokens of one forward pass of one process; the rest of a step is gradient accumulation."""
    optimizer: OptimizerSettings
    schedule: ScheduleSettings = ScheduleSettings()
    num_layers: int | None = None
    """The model grows to so many layers before this stage, a whole multiple of those it had; None: it does not grow."""
    rope_base: float | None = None
    """The rotary base from this stage on, for longer sequences; None: as it was."""
    aux_loss_coef: float | None = None
    """Weight of the router's balancing loss; None: the model's own `router_aux_loss_coef`."""
    precision: Precision = "float32"
    """What the layers compute in. Weights, moments, embedding, routers, lightning states and head are float32 in both;
    bfloat16 is faster where the machine multiplies it natively."""
    activation_checkpointing: bool = False
    """Keep only the input of each layer and compute the rest again: a third more work, far less memory."""
    guard: GuardSettings | None = None

    def __post_init__(self) -> None:
        _require(
            self.name.replace("-", "").replace("_", "").isalnum(),
            f"name is {self.name!r}; only letters, digits, - and _ make a folder name that works everywhere",
        )
        for name in ("length", "tokens", "tokens_per_step", "tokens_per_micro_batch"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} is {value}; it must be at least 1")
        _require(
            self.length <= self.tokens_per_micro_batch,
            f"length {self.length} is above tokens_per_micro_batch {self.tokens_per_micro_batch}: raise the latter, "
            "because a sequence is never split over forward passes",
        )
        _require(
            self.tokens_per_step % self.tokens_per_micro_batch == 0,
            f"tokens_per_step {self.tokens_per_step} is not a multiple of tokens_per_micro_batch "
            f"{self.tokens_per_micro_batch}: a step is whole micro-batches",
        )
        _require(
            self.num_layers is None or self.num_layers >= 1, f"num_layers is {self.num_layers}; it must be at least 1"
        )
        _require(self.rope_base is None or self.rope_base > 0, f"rope_base is {self.rope_base}; it must be positive")
        _require(
            self.precision in ("float32", "bfloat16"),
            f"precision is {self.precision!r}; known are float32 and bfloat16",
        )
        _require(
            self.aux_loss_coef is None or self.aux_loss_coef >= 0,
            f"aux_loss_coef is {self.aux_loss_coef}; it must not be negative",
        )

    @property
    def micro_batches(self) -> int:
        """Micro-batches per step, over all processes."""
        return self.tokens_per_step // self.tokens_per_micro_batch

    @property
    def steps(self) -> int:
        """Updates of the weights in the stage: the budget, rounded up to whole steps."""
        return math.ceil(self.tokens / self.tokens_per_step)


def require_distinct_names(stages: Sequence[StageSettings]) -> None:
    """ValueError unless each stage has a name of its own, which is that of its folder beside the checkpoints."""
    names = [stage.name for stage in stages]
    _require(
        len(set(names)) == len(names) and "checkpoints" not in names,
        f"stages are named {', '.join(names)}; each needs a name of its own, other than `checkpoints`",
    )


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """When a run saves itself, and how many of its checkpoints stay. One is written at the end of a stage anyway.

    Example: `CheckpointSettings(every_seconds=600, keep=3)`.
    """

    every_seconds: float = 300.0
    every_steps: int | None = None
    """Save after every so many steps as well."""
    keep: int = 2
    """The newest so many stay; two at least are wise, because one can be damaged."""

    def __post_init__(self) -> None:
        _require(self.every_seconds > 0, f"every_seconds is {self.every_seconds}; it must be positive")
        _require(
            self.every_steps is None or self.every_steps >= 1,
            f"every_steps is {self.every_steps}; it must be at least 1, or left out",
        )
        _require(self.keep >= 1, f"keep is {self.keep}; it must be at least 1")
