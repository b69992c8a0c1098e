"""A model, a source and stages for runs of a second; as a program, a run that can be killed in the middle of a step."""

import argparse
import os
import random
import signal
from pathlib import Path
from typing import Any

from torch import Tensor

from fulmen.config import ModelConfig, hybrid_layers
from fulmen.model.decoder import Decoder
from fulmen.parallel.ranks import Ranks
from fulmen.trace import TrainingSample
from fulmen.train import run
from fulmen.train.losses import supervised_loss
from fulmen.train.packing import PackedBatch
from fulmen.train.scoring import Scorer
from fulmen.train.settings import CheckpointSettings, OptimizerSettings, ScheduleSettings, StageSettings
from fulmen.train.trainer import Trainer

CONFIG = ModelConfig(
    vocab_size=61,
    num_live_tokens=57,
    hidden_size=32,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    layers=hybrid_layers(2, softmax_every=2),
    intermediate_size=24,
    num_experts=4,
    experts_per_token=2,
    rotary_dim=4,
    postnorm=True,
    max_context=64,
)


def sample(seed: int, length: int) -> TrainingSample:
    """A sequence that counts up by its own stride, after an untrained beginning of two tokens."""
    numbers = random.Random(seed)
    start, stride = numbers.randrange(50), numbers.randrange(1, 5)
    return TrainingSample(
        token_ids=tuple((start + stride * i) % 50 for i in range(length)),
        mask=(False, False, *[True] * (length - 2)),
        weights=(0.0, 0.0, *(numbers.choice((0.5, 1.0)) for _ in range(length - 2))),
    )


class CountingSource:
    """Samples of 5 to 20 tokens, by their number."""

    def __init__(self) -> None:
        self.position = 0

    def next(self) -> TrainingSample:
        self.position += 1
        return sample(self.position, random.Random(self.position).randrange(5, 21))

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


def stage(name: str = "first", **changes: Any) -> StageSettings:
    facts: dict[str, Any] = {
        "name": name,
        "length": 20,
        "tokens": 8 * 128,
        "tokens_per_step": 128,
        "tokens_per_micro_batch": 32,
        "optimizer": OptimizerSettings(learning_rate=1e-2),
        "schedule": ScheduleSettings(warmup_steps=2),
        "aux_loss_coef": 0.01,
    }
    return StageSettings(**facts | changes)


def trainer(config: ModelConfig = CONFIG, *, seed: int = 0, **optimizer: Any) -> Trainer:
    scorer = Scorer(Decoder(config).initialize(seed).requires_grad_(True)).train()
    settings = OptimizerSettings(**{"learning_rate": 1e-2} | optimizer)
    return Trainer(scorer, settings, aux_loss_coef=0.01, ranks=Ranks())


STAGES = (
    stage("first"),
    stage("second", tokens=4 * 128, rope_base=50_000.0, activation_checkpointing=True),
    stage("third", tokens=2 * 128, precision="bfloat16", num_layers=4),
)


def main() -> None:
    """Run the stages in a folder; with --die-at, the process kills itself at that call of the loss."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--die-at", type=int)
    options = parser.parse_args()
    calls = 0

    def deadly(logprobs: Tensor, batch: PackedBatch) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == options.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return supervised_loss(logprobs, batch)

    run.supervised_loss = deadly
    checkpoints = CheckpointSettings(every_steps=3)
    run.run_stages(CONFIG, STAGES, lambda _: CountingSource(), options.run_dir, checkpoints=checkpoints)


if __name__ == "__main__":
    main()
