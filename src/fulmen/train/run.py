"""A training run: stages one after the other, each a loop of steps that a kill at any time only pauses.

Whatever the next step depends on is in the newest checkpoint, so running the same command again continues the run, and
the losses are those of a run that was never interrupted, to the last bit.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fulmen.chat.tokenizer import copy_tokenizer
from fulmen.config import ModelConfig
from fulmen.config_formats import read_config_file, write_config
from fulmen.model.decoder import Decoder
from fulmen.model.weights import load_checkpoint, save_checkpoint
from fulmen.parallel.ranks import Ranks, joined
from fulmen.parallel.sharding import gather, shard
from fulmen.runlog import ProgressDisplay, RunLog, Stopwatch, progress
from fulmen.train.checkpoints import Checkpoint, CheckpointStore
from fulmen.train.evidence import TrainingError, not_finite
from fulmen.train.growth import config_after, grow
from fulmen.train.guard import NormGuard
from fulmen.train.losses import supervised_loss
from fulmen.train.packing import Packer
from fulmen.train.run_folder import METRICS, agree, claimed
from fulmen.train.schedule import scale
from fulmen.train.scoring import Scorer, set_forwards
from fulmen.train.settings import CheckpointSettings, StageSettings, require_distinct_names
from fulmen.train.source import SampleSource
from fulmen.train.trainer import NonFiniteError, Tally, Trainer

_FREE_TO_CHANGE = ("initializer_range", "max_position_embeddings", "router_aux_loss_coef")
"""Facts of a model's config that may be others when a run goes on: they don't change what the weights mean."""


def run_stages(
    start: ModelConfig | Path,
    stages: Sequence[StageSettings],
    open_source: Callable[[StageSettings], SampleSource],
    run_dir: Path,
    *,
    checkpoints: CheckpointSettings | None = None,
    seed: int = 0,
    tokenizer_folder: Path | None = None,
) -> None:
    """Train from random weights of a config, or from a checkpoint folder, through all stages; or continue to.

    Each stage ends with its weights in `run_dir/<stage name>`, a checkpoint folder of the MiniMax-M1 family, with the
    tokenizer's files of `tokenizer_folder` (default: those of `start`, if it is a folder). Metrics are in
    `run_dir/metrics.jsonl`, what the next step depends on in `run_dir/checkpoints`. Under torchrun every process calls
    this alike.

    Raises:
        ValueError: the stages don't fit each other, the processes, or what the folder holds; another process works in
            the folder; or the model can't be written in MiniMax-M1's layout.
        TrainingError: a loss is no number, or the guard's rollbacks are used up.
    """
    require_distinct_names(stages)
    config = read_config_file(start / "config.json") if isinstance(start, Path) else start
    facts = _begun_with(config, seed)
    config_after(config, stages)  # a growth that can't be is refused before anything is trained
    settings = checkpoints or CheckpointSettings()
    tokenizer_folder = tokenizer_folder or (start if isinstance(start, Path) else None)
    with joined() as ranks, _opened(run_dir, facts, ranks):
        for stage in stages:
            if stage.micro_batches % ranks.world_size:
                raise ValueError(
                    f"stage {stage.name} has {stage.micro_batches} micro-batches per step, which {ranks.world_size} "
                    "processes cannot share evenly: change tokens_per_step or tokens_per_micro_batch"
                )
        store = CheckpointStore(run_dir / "checkpoints", keep=settings.keep, ranks=ranks)
        found = store.newest()
        first = 0 if found is None else _stage_of(found, stages)
        scorer = _trainable(_load(start, seed, ranks), ranks)
        log = RunLog(run_dir / METRICS, resume_step=found.step if found else 0) if ranks.first else None
        step = 0
        for index, stage in enumerate(stages):
            if stage.num_layers is not None:
                before = run_dir / stages[index - 1].name if index else start
                scorer = _trainable(grow(_load(before, seed, ranks), stage.num_layers), ranks)
            _extend(scorer.decoder, stage)
            if index >= first:
                loop = _StageLoop(scorer, stage, open_source(stage), store, settings, log, run_dir, ranks, step)
                loop.run(found if index == first else None)
                _export(scorer.decoder, run_dir / stage.name, tokenizer_folder, ranks)
            step += stage.steps


class _StageLoop:
    """The steps of one stage."""

    def __init__(
        self,
        scorer: Scorer,
        stage: StageSettings,
        source: SampleSource,
        store: CheckpointStore,
        settings: CheckpointSettings,
        log: RunLog | None,
        run_dir: Path,
        ranks: Ranks,
        first_step: int,
    ) -> None:
        coefficient = stage.aux_loss_coef
        if coefficient is None:
            coefficient = scorer.decoder.config.router_aux_loss_coef
        set_forwards(scorer, precision=stage.precision, activation_checkpointing=stage.activation_checkpointing)
        self.trainer = Trainer(scorer, stage.optimizer, aux_loss_coef=coefficient, ranks=ranks)
        self.packer = Packer(
            source, max_length=stage.length, max_tokens=stage.tokens_per_micro_batch, device=ranks.device
        )
        self.guard = None if stage.guard is None else NormGuard(stage.guard, steps=stage.steps)
        self.stage, self.store, self.settings, self.log, self.ranks = stage, store, settings, log, ranks
        self.run_dir, self.first_step = run_dir, first_step
        self.step = first_step  # steps taken, those of the stages before included
        self.tokens = 0  # tokens read in this stage
        self.since_save = Stopwatch()

    def run(self, found: Checkpoint | None) -> None:
        """All steps of the stage, or those after a checkpoint."""
        end = self.first_step + self.stage.steps
        if found is None:
            self._save()  # what a rollback or a kill before the first due checkpoint returns to
        else:
            self._restore(found)
        with progress(self.stage.name, self.stage.steps, shown=self.ranks.first) as display:
            while self.step < end:
                watch = Stopwatch()
                facts = self._take_step()
                if facts is None:
                    continue
                self.step += 1
                self._report(facts, watch.lap(), display)
                if self._due() or self.step == end:
                    self._save()

    def _take_step(self) -> dict[str, Any] | None:
        """One update of the weights and what it measured; None if the guard was in the way."""
        batches = [self.packer.next() for _ in range(self.stage.micro_batches)]
        try:
            tally = self.trainer.forward_backward(batches, supervised_loss)
            norm = self.trainer.clip_gradients()
            if not math.isfinite(norm):
                mine = batches[self.ranks.rank :: self.ranks.world_size]
                raise NonFiniteError(f"the loss is {tally.loss}, but the norm of its gradient {norm}", mine)
        except NonFiniteError as error:
            samples = [sample for batch in error.batches for sample in batch.samples]
            step, rank = self.step + 1, self.ranks.rank
            raise not_finite(str(error), samples, self.run_dir, stage=self.stage.name, step=step, rank=rank) from error
        if self.guard is not None and self.guard.trips(norm):
            self._evade(self.guard, norm)
            return None
        rate = self._learning_rate()
        self.trainer.step(rate)
        self.tokens += tally.tokens
        return self._facts(tally) | {"grad_norm": norm, "learning_rate": rate}

    def _learning_rate(self) -> float:
        factor = scale(self.stage.schedule, self.step - self.first_step, self.stage.steps)
        return self.stage.optimizer.learning_rate * factor * (self.guard.slow_down if self.guard else 1.0)

    def _facts(self, tally: Tally) -> dict[str, Any]:
        return {
            "stage": self.stage.name,
            "tokens": self.tokens,
            "step_tokens": tally.tokens,
            "trained_fraction": tally.trained / tally.tokens,
            "loss": tally.loss,
            "aux_loss": tally.aux_loss,
            "imbalance": tally.imbalance,
        }

    def _report(self, facts: dict[str, Any], seconds: float, display: ProgressDisplay) -> None:
        if self.log is None:  # another process writes
            return
        speed = facts.pop("step_tokens") / seconds
        self.log.write(step=self.step, **facts, tokens_per_second=round(speed, 1), seconds=round(seconds, 4))
        words = f"loss {facts['loss']:.4f} norm {facts['grad_norm']:.3g} {speed:,.0f} tok/s"
        display.show(self.step - self.first_step, words)

    def _due(self) -> bool:
        """Whether it is time to save, by the first process's clock."""
        every = self.settings.every_steps
        by_steps = every is not None and self.step % every == 0
        return by_steps or self.ranks.agree(self.since_save.seconds >= self.settings.every_seconds)

    def _save(self) -> None:
        state = {
            "stage": self.stage.name,
            "tokens": self.tokens,
            "data": self.packer.state_dict(),
            "guard": None if self.guard is None else self.guard.state_dict(),
        }
        self.store.save(self.step, self.trainer, state)
        self.since_save.lap()

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.store.restore(checkpoint, self.trainer)
        self.step, self.tokens = checkpoint.step, checkpoint.progress["tokens"]
        self.packer.load_state_dict(checkpoint.progress["data"])
        if self.guard is not None and checkpoint.progress["guard"] is not None:
            self.guard.load_state_dict(checkpoint.progress["guard"])

    def _evade(self, guard: NormGuard, norm: float) -> None:
        """Go back and come slower; a step that spikes again then has a batch at fault, which is left out."""
        what = f"stage {self.stage.name}, step {self.step + 1}: gradient norm {norm:.4g} tripped the guard"
        self.trainer.discard_gradients()
        if guard.tripped != self.step + 1:
            self._roll_back(guard, what)
            return
        guard.tripped = None
        if self.log is not None:
            self.log.note(f"{what} again: its batch is left out")

    def _roll_back(self, guard: NormGuard, what: str) -> None:
        """Return to the last good checkpoint, slower; what was logged and saved after it is dropped."""
        rollbacks, tripped = guard.rollbacks + 1, self.step + 1
        if rollbacks > guard.settings.max_rollbacks:
            raise TrainingError(f"{what} after {guard.rollbacks} rollbacks: lower the learning rate or mend the data")
        good = self.store.trusted(first_step=self.first_step, last_step=self.step - guard.window)
        if good is None:
            raise TrainingError(f"{what}, and no checkpoint of the stage is left to return to")
        self._restore(good)
        guard.rollbacks, guard.tripped = rollbacks, tripped
        self.store.forget_after(good.step)
        if self.log is not None:
            self.log.rewind(good.step)
            self.log.note(f"{what}: back to step {good.step}, learning rate times {guard.slow_down:g}")


def _begun_with(config: ModelConfig, seed: int) -> dict[str, Any]:
    """What must stay the same as long as a run goes on: the model that its weights belong to, and the data's order."""
    try:
        facts = write_config(config, "minimax_m1")
    except ValueError as error:
        raise ValueError(f"trained weights are written in MiniMax-M1's layout, but {error}") from error
    return {key: value for key, value in facts.items() if key not in _FREE_TO_CHANGE} | {"seed": seed}


@contextmanager
def _opened(run_dir: Path, facts: dict[str, Any], ranks: Ranks) -> Iterator[None]:
    """Hold a run's folder by the first process, and see that the run in it is this one."""
    problem = None
    with ExitStack() as held:
        if ranks.first:
            try:
                held.enter_context(claimed(run_dir))
                agree(run_dir / "begun_with.json", facts)
            except ValueError as error:
                problem = str(error)
        if problem := ranks.agree(problem):
            raise ValueError(problem)
        yield


def _stage_of(found: Checkpoint, stages: Sequence[StageSettings]) -> int:
    """The index of the stage that a checkpoint is of; ValueError if the stages are not those that led to it."""
    names, name = [stage.name for stage in stages], found.progress["stage"]
    if name not in names:
        raise ValueError(f"{found.path} belongs to a stage {name!r}; this run has {names}")
    index = names.index(name)
    begin = sum(stage.steps for stage in stages[:index])
    end = begin + stages[index].steps
    if not begin <= found.step <= end:
        raise ValueError(
            f"{found.path} is of stage {name}, which has steps {begin}..{end} now: the tokens of a stage have changed. "
            "Restore them, or begin a new run in another folder"
        )
    return index


def _load(start: ModelConfig | Path, seed: int, ranks: Ranks) -> Decoder:
    """The weights of a checkpoint folder, or random ones; the same in all processes."""
    if isinstance(start, Path):
        return load_checkpoint(start, device=ranks.device)
    return Decoder(start, device=ranks.device).initialize(seed)


def _trainable(decoder: Decoder, ranks: Ranks) -> Scorer:
    """The model for training, sharded."""
    scorer = Scorer(decoder.requires_grad_(True)).train()
    shard(scorer, scorer.layers, ranks)
    return scorer


def _extend(decoder: Decoder, stage: StageSettings) -> None:
    """Change what a stage changes of the model: the rotary base, and the length that it is meant for."""
    decoder.config = decoder.config.replace(
        rope_base=stage.rope_base or decoder.config.rope_base, max_context=max(decoder.config.max_context, stage.length)
    )


def _export(decoder: Decoder, folder: Path, tokenizer_folder: Path | None, ranks: Ranks) -> None:
    """Write the weights as a checkpoint folder, with the tokenizer of another."""
    whole = gather(decoder, ranks)
    if ranks.first:
        save_checkpoint(whole, folder, family="minimax_m1")
        if tokenizer_folder is not None:
            copy_tokenizer(tokenizer_folder, folder)
    ranks.wait()
