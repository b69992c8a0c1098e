"""Training a model of spark's size: Fulmen's trainer against transformers' Trainer on MiniMaxForCausalLM, one run.

Both train every token of the same batches of whole sequences with AdamW, clipping included, from random weights of the
same sizes; measured is the time of whole steps, both in float32 and both with products in bfloat16. transformers'
Trainer needs `pip install accelerate`.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.harness import Report, paired
from benchmarks.models import active_parameters
from fulmen.config import ModelConfig
from fulmen.model.decoder import Decoder
from fulmen.parallel.ranks import joined
from fulmen.tasks.registry import TASKS
from fulmen.trace import TrainingSample
from fulmen.train.growth import grown_config
from fulmen.train.losses import supervised_loss
from fulmen.train.packing import PackedBatch
from fulmen.train.recipe import read_recipe
from fulmen.train.scoring import Scorer, set_forwards
from fulmen.train.settings import OptimizerSettings, Precision
from fulmen.train.trainer import Trainer

OPTIMIZER = OptimizerSettings(learning_rate=1e-3)


def spark_config() -> ModelConfig:
    """The sizes of the recipe, grown to its last depth."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = read_recipe("spark", Path(folder), task_names=TASKS)
    vocabulary = type("Sized", (), {"vocab_size": recipe.vocabulary.size, "eos_token_ids": ()})()
    config = recipe.model.config(vocabulary, length=recipe.stage[0].length)
    for layers in filter(None, (stage.num_layers for stage in recipe.stage)):
        config = grown_config(config, layers)
    return config


def fulmen_steps(config: ModelConfig, tokens: torch.Tensor, precision: Precision) -> Any:
    """A function that takes a number of steps and returns the seconds of one."""
    samples = [
        TrainingSample(token_ids=tuple(row), mask=(True,) * len(row), weights=(1.0,) * len(row))
        for row in tokens.tolist()
    ]
    scorer = Scorer(Decoder(config).initialize(0))
    set_forwards(scorer, precision=precision, activation_checkpointing=False)
    with joined() as ranks:
        trainer = Trainer(scorer, OPTIMIZER, aux_loss_coef=config.router_aux_loss_coef, ranks=ranks)

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            trainer.forward_backward([PackedBatch.pack(samples)], supervised_loss)
            trainer.clip_gradients()
            trainer.step(OPTIMIZER.learning_rate)
        return (time.perf_counter() - start) / steps

    return run


def transformers_steps(config: ModelConfig, tokens: torch.Tensor, precision: Precision) -> Any:
    """The same for transformers' Trainer, its set-up left out of the time."""
    model = transformers.MiniMaxForCausalLM(
        transformers.MiniMaxConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            num_local_experts=config.num_experts,
            num_experts_per_tok=config.experts_per_token,
            layer_types=[
                f"{'linear' if kind.attention == 'lightning' else 'full'}_attention" for kind in config.layers
            ],
            output_router_logits=True,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    rows = [{"input_ids": row, "labels": row} for row in tokens]

    class Clock(transformers.TrainerCallback):
        times: list[float]

        def on_step_begin(self, *_: object, **__: object) -> None:
            self.times.append(time.perf_counter())

    def run(steps: int) -> float:
        clock = Clock()
        clock.times = []
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=len(rows),
                max_steps=steps + 1,
                learning_rate=OPTIMIZER.learning_rate,
                adam_beta1=OPTIMIZER.betas[0],
                adam_beta2=OPTIMIZER.betas[1],
                weight_decay=OPTIMIZER.weight_decay,
                max_grad_norm=1.0,
                bf16=precision == "bfloat16",
                lr_scheduler_type="constant",
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
            )
            transformers.Trainer(model, arguments, train_dataset=rows * (steps + 1), callbacks=[clock]).train()
        return (clock.times[-1] - clock.times[0]) / steps

    return run


def main() -> None:
    """Print tokens per second of both, their ratio, and the fraction of GEMM peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    columns = ["precision", "fulmen tok/s", "Trainer tok/s", "ratio", "of float32 GEMM peak", "Trainer's"]
    report = Report("Training steps of spark's size", columns, options.threads)
    config = spark_config()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, config.vocab_size, (options.batch, options.length), generator=generator)
    head = config.vocab_size * config.hidden_size
    peak = 6.0 * (active_parameters(config) + head) * tokens.numel() / report.limits.gemm / 1e9
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        ours, peer = fulmen_steps(config, tokens, precision), transformers_steps(config, tokens, precision)
        mine, other = paired(
            lambda ours=ours: ours(options.steps), lambda peer=peer: peer(options.steps), options.repeats
        )
        report.row(
            precision,
            f"{tokens.numel() / mine:,.0f}",
            f"{tokens.numel() / other:,.0f}",
            f"{other / mine:.2f}x",
            f"{peak / mine:.0%}",
            f"{peak / other:.0%}",
        )
    report.print()


if __name__ == "__main__":
    main()
