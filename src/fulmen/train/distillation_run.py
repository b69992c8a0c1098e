"""The run that distils a converted model: two stages within one budget, held-out perplexity along the way, and resume.

run folder:  settings.json   what the run was started with; another command may not continue it
             metrics.jsonl   a line per step: stage, loss, learning rate, speed; and now and then perplexity
             checkpoints/    what the next step depends on
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from torch import Tensor

from fulmen.config_formats import write_config
from fulmen.model.decoder import Decoder
from fulmen.parallel.ranks import Ranks
from fulmen.runlog import RunLog, Stopwatch
from fulmen.trace import TrainingSample
from fulmen.train.checkpoints import CheckpointStore
from fulmen.train.distillation import (
    attention_parameters,
    log_perplexity,
    train_only,
    transfer_attention,
    transfer_logits,
)
from fulmen.train.evidence import not_finite
from fulmen.train.plain_text import PlainText
from fulmen.train.run_folder import METRICS, agree
from fulmen.train.scoring import Scorer
from fulmen.train.settings import CheckpointSettings, OptimizerSettings
from fulmen.train.trainer import Trainer

Stage = Literal["attention", "logits"]
STAGES: tuple[Stage, ...] = ("attention", "logits")


@dataclass(frozen=True, kw_only=True)
class DistillationSettings:
    """The budget and the learning of a distillation.

    Example: half an hour, of which a third is spent layer by layer: `DistillationSettings(minutes=30)`.
    """

    minutes: float | None = None
    """Budget in minutes, measurements included; exactly one of minutes and tokens is given."""
    tokens: int | None = None
    """Budget in tokens, which makes a run reproducible to the bit."""
    trainable: Literal["attention", "all"] = "attention"
    """What the second stage trains: the lightning layers' attention, or every weight. New experts need `all`."""
    attention_share: float = 1 / 3
    """Part of the budget that goes to the first stage."""
    attention_rate: float = 2e-3
    """Peak learning rate of the first stage."""
    logits_rate: float = 3e-4
    """Peak learning rate of the second stage."""
    warmup_steps: int = 10
    final_fraction: float = 0.1
    """What is left of the peak at the end of a stage, to which it falls along a cosine."""
    sequences: int = 2
    """Sequences of a step."""
    evaluations: int = 20
    """Measurements of the held-out perplexity, evenly spread, besides those before and after."""

    def __post_init__(self) -> None:
        budgets = [budget for budget in (self.minutes, self.tokens) if budget is not None]
        if len(budgets) != 1 or budgets[0] <= 0:
            raise ValueError(f"minutes is {self.minutes} and tokens {self.tokens}; one of them must be given, above 0")
        if self.trainable not in ("attention", "all"):
            raise ValueError(f"trainable is {self.trainable!r}; known are attention and all")
        if not 0 <= self.attention_share <= 1:
            raise ValueError(f"attention_share is {self.attention_share}; it must be within 0..1")

    def learning_rate(self, stage: Stage, step: int, done: float) -> float:
        """The rate of a step of a stage (from 0), of whose budget the fraction `done` is spent."""
        peak = self.attention_rate if stage == "attention" else self.logits_rate
        fall = self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
        return peak * min(fall, (step + 1) / (self.warmup_steps + 1))


@dataclass(kw_only=True)
class _Progress:
    """Where a run is; all of it is in a checkpoint."""

    stage: Stage
    step: int = 0  # steps taken, of both stages
    stage_step: int = 0
    spent: float = 0.0  # tokens or seconds of this stage
    evaluations: int = 0  # made in this stage


Report = Callable[[float, str], None]
"""Called with (fraction of the whole budget that is spent, a few words on how it goes)."""


class Distillation:
    """A run of `teacher` teaching `student`, continued from its folder if there is something to continue."""

    def __init__(
        self,
        teacher: Decoder,
        student: Decoder,
        text: PlainText,
        settings: DistillationSettings,
        folder: Path,
        *,
        checkpoints: CheckpointSettings | None = None,
        report: Report = lambda done, words: None,
    ) -> None:
        self.teacher, self.student, self.text, self.settings = teacher, student, text, settings
        self._folder, self._report = folder, report
        self._total = settings.tokens or (settings.minutes or 0.0) * 60  # tokens or seconds
        self._latest: dict[str, str] = {}
        self._every = checkpoints or CheckpointSettings(keep=1)
        agree(
            folder / "settings.json",
            {
                **dataclasses.asdict(settings),
                "config": write_config(student.config, "minimax_m1"),
                "text": text.checksum,
            },
        )
        self._store = CheckpointStore(folder / "checkpoints", keep=self._every.keep, ranks=Ranks())
        self._found = self._store.newest()
        self._log = RunLog(folder / METRICS, resume_step=self._found.step if self._found else -1)
        self._since_save = Stopwatch()

    def run(self) -> None:
        """Both stages, or what is left of them; the student is trained in place."""
        found = None if self._found is None else _Progress(**self._found.progress)
        stages = [stage for stage in STAGES if self._budget(stage) > 0]
        at = found or _Progress(stage=stages[0])
        if found is None:
            self._measure(at, {"teacher_perplexity": math.exp(log_perplexity(self.teacher, self.text.held_out))})
        for stage in stages[stages.index(at.stage) :]:
            if stage != at.stage:
                at = _Progress(stage=stage, step=at.step)
            self._run_stage(at)

    def _budget(self, stage: Stage) -> float:
        """Tokens or seconds of a stage; none for attention where no layer is converted."""
        share = self.settings.attention_share if self.student.config.lightning_layers else 0.0
        first = self._total * share if self.settings.tokens is None else round(self._total * share)
        return first if stage == "attention" else self._total - first

    def _run_stage(self, at: _Progress) -> None:
        everything = at.stage == "logits" and self.settings.trainable == "all"
        train_only(self.student, self.student.parameters() if everything else attention_parameters(self.student))
        optimizer = OptimizerSettings(learning_rate=self.settings.learning_rate(at.stage, 0, 0.0), weight_decay=0.0)
        trainer = Trainer(Scorer(self.student), optimizer, aux_loss_coef=0.0, ranks=Ranks())
        if self._found is not None:
            self._store.restore(self._found, trainer)
            self._found = None
        while at.spent < self._budget(at.stage):
            self._take_step(at, trainer)
            if self._since_save.seconds >= self._every.every_seconds:
                self._save(at, trainer)
        self._save(at, trainer)

    def _take_step(self, at: _Progress, trainer: Trainer) -> None:
        watch, done = Stopwatch(), at.spent / self._budget(at.stage)
        sequences = self.text.batch(at.step, self.settings.sequences)
        if at.stage == "attention":
            errors = transfer_attention(self.teacher, self.student, sequences)
            facts: dict[str, Any] = {"loss": mean(errors), "worst_layer": max(errors)}
        else:
            coefficient = self.student.config.router_aux_loss_coef if self.settings.trainable == "all" else 0.0
            divergence, aux = transfer_logits(self.teacher, self.student, sequences, aux_loss_coef=coefficient)
            facts = {"loss": divergence, "aux_loss": aux}
        norm = trainer.clip_gradients()
        if not (math.isfinite(facts["loss"]) and math.isfinite(norm)):
            what = f"the loss is {facts['loss']} and the norm of its gradient {norm}"
            raise not_finite(what, _samples(sequences), self._folder, stage=at.stage, step=at.step + 1)
        rate = self.settings.learning_rate(at.stage, at.stage_step, done)
        trainer.step(rate)
        seconds = watch.seconds
        at.step, at.stage_step = at.step + 1, at.stage_step + 1
        at.spent += seconds if self.settings.tokens is None else sequences.numel()
        speed = round(sequences.numel() / seconds, 1)
        self._log.write(
            step=at.step, stage=at.stage, **facts, grad_norm=norm, learning_rate=rate, tokens_per_second=speed
        )
        self._tell(at, {f"{at.stage} loss": f"{facts['loss']:.4f}", "tokens/s": f"{speed:,.0f}"})
        if at.spent / self._budget(at.stage) * self._evaluations(at.stage) >= at.evaluations + 1:
            at.evaluations += 1
            self._measure(at, {})

    def _measure(self, at: _Progress, facts: dict[str, float]) -> None:
        """Log the perplexity of the text that is held out."""
        watch = Stopwatch()
        perplexity = math.exp(log_perplexity(self.student, self.text.held_out))
        if self.settings.tokens is None:
            at.spent += watch.seconds
        self._log.write(step=at.step, stage=at.stage, perplexity=perplexity, **facts)
        self._tell(at, {"perplexity": f"{perplexity:,.2f}"})

    def _tell(self, at: _Progress, news: dict[str, str]) -> None:
        self._latest |= news
        self._report(self._done(at), ", ".join(f"{name} {value}" for name, value in self._latest.items()))

    def _save(self, at: _Progress, trainer: Trainer) -> None:
        self._store.save(at.step, trainer, dataclasses.asdict(at))
        self._since_save.lap()

    def _done(self, at: _Progress) -> float:
        before = self._budget("attention") if at.stage == "logits" else 0.0
        return min(1.0, (before + at.spent) / self._total)

    def _evaluations(self, stage: Stage) -> int:
        """How many of the run's measurements fall into a stage, the last one at its end."""
        return max(1, round(self.settings.evaluations * self._budget(stage) / self._total))


def _samples(sequences: Tensor) -> list[TrainingSample]:
    """Sequences int64 [S, length] as samples, every token but the first a target."""
    mask = (False, *[True] * (sequences.shape[1] - 1))
    weights = tuple(map(float, mask))
    return [TrainingSample(token_ids=tuple(ids), mask=mask, weights=weights) for ids in sequences.tolist()]
