"""The card of a model that a recipe made: README.md and a loss curve, computed from the files of the run alone."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fulmen.config import ModelConfig
from fulmen.config_formats import read_config_file
from fulmen.tasks.gym import EASED
from fulmen.train.configuration import StageTable, TaskData, VocabularyData
from fulmen.train.corpora import CorpusCard
from fulmen.train.cost import count_parameters, training_flops
from fulmen.train.recipe import Recipe
from fulmen.train.report import can_draw, draw_loss

CURVES = "loss.png"
"""The picture beside the card."""
_WEAK = 0.9
"""Tasks that score less are named among what the model can't do, each with a failure."""


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What a stage of training was and did.

    Example: `StageRecord(stage=..., steps=366, tokens=12_000_000, seconds=2400.0, first_loss=9.0, last_loss=2.1,
    flops=3.6e14)`.
    """

    stage: StageTable
    steps: int
    tokens: int
    seconds: float
    first_loss: float
    last_loss: float
    """The mean of the last twentieth of its steps."""
    flops: float


def write_card(
    checkpoint: Path,
    *,
    recipe: Recipe,
    recipe_source: str,
    scale: float,
    corpora: Mapping[str, CorpusCard],
    metrics: Sequence[Mapping[str, Any]],
    evaluation: Mapping[str, Any],
) -> None:
    """Write README.md and, where matplotlib is, the loss curve into a checkpoint folder.

    Args:
        checkpoint: the finished folder; size and hash of its weights are part of the card.
        recipe: what was carried out.
        recipe_source: its TOML.
        scale: of its budgets.
        corpora: the texts that could be had.
        metrics: the lines of the run's metrics.jsonl.
        evaluation: what `fulmen eval` wrote.
    """
    config = read_config_file(checkpoint / "config.json")
    records = _records(config, recipe, metrics)
    drawn = can_draw()
    if drawn:
        draw_loss(metrics, checkpoint / CURVES)
    parts = [
        _head(checkpoint, config, recipe, scale),
        _data(recipe, corpora),
        _training(records) + (f"\n![Loss of the stages]({CURVES})\n" if drawn else ""),
        _scores(evaluation),
        _limits(recipe, corpora, evaluation, records),
        f"## Recipe\n\n```toml\n{recipe_source.strip()}\n```\n",
    ]
    (checkpoint / "README.md").write_text("\n".join(parts), encoding="utf-8")


def _records(config: ModelConfig, recipe: Recipe, metrics: Sequence[Mapping[str, Any]]) -> list[StageRecord]:
    """What the stages did, each with the layers that the model had then."""
    records, depth = [], recipe.model.num_layers
    for stage in recipe.stage:
        depth = stage.num_layers or depth
        records.append(_record(config.replace(layers=config.layers[:depth]), stage, metrics))
    return records


def _record(config: ModelConfig, stage: StageTable, metrics: Iterable[Mapping[str, Any]]) -> StageRecord:
    lines = [line for line in metrics if line["stage"] == stage.name]
    if not lines:
        raise ValueError(f"the metrics have no line of stage {stage.name}: has it been trained?")
    losses = [float(line["loss"]) for line in lines]
    tail = losses[-max(1, len(losses) // 20) :]
    tokens = int(lines[-1]["tokens"])
    return StageRecord(
        stage=stage,
        steps=len(lines),
        tokens=tokens,
        seconds=sum(float(line["seconds"]) for line in lines),
        first_loss=losses[0],
        last_loss=sum(tail) / len(tail),
        flops=training_flops(config, stage.length, tokens),
    )


def _head(checkpoint: Path, config: ModelConfig, recipe: Recipe, scale: float) -> str:
    parameters = count_parameters(config)
    files = sorted(checkpoint.glob("*.safetensors"))
    rows = [
        ("layers", f"{len(config.lightning_layers)} lightning attention, {len(config.softmax_layers)} softmax"),
        ("hidden size", f"{config.hidden_size}, {config.num_heads} heads of {config.head_dim}"),
        ("experts", f"{config.num_experts} of {config.intermediate_size}, {config.experts_per_token} per token"),
        ("parameters", f"{parameters.total / 1e6:.1f} million, {parameters.active / 1e6:.1f} million active per token"),
        ("vocabulary", f"{config.vocab_size:,} tokens"),
        ("context", f"{config.max_context:,} tokens, rotary base {config.rope_base:,.0f}"),
    ]
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append((file.name, f"{file.stat().st_size / 1e6:.1f} MB, sha256 `{digest}`"))
    at_scale = "" if scale == 1 else f" --scale {scale:g}"
    return (
        f"# {recipe.recipe.name}\n\nA model of the MiniMax-M1 architecture, made by `fulmen train recipe "
        f"{recipe.recipe.name}{at_scale}` with Fulmen {version('fulmen')}. This card is computed from the run's files."
        f"\n\n{_table(('', ''), rows)}"
    )


def _data(recipe: Recipe, corpora: Mapping[str, CorpusCard]) -> str:
    texts = [
        (card.title, card.licence, card.origin, f"{card.documents:,}", f"{card.bytes / 1e6:.1f} MB")
        for card in corpora.values()
    ]
    shares = []
    for stage in recipe.stage:
        total = sum(entry.weight for entry in stage.data)
        for entry in stage.data:
            if isinstance(entry, TaskData):
                weights = sum(entry.tasks.values())
                tasks = ", ".join(f"{name} {weight / weights:.1%}" for name, weight in entry.tasks.items())
                what = f"generated problems, trained on {entry.train_on}: {tasks}"
            elif isinstance(entry, VocabularyData):
                what = "random words of the vocabulary, half to be compared, half to be repeated or looked up"
            else:
                what = entry.path.stem
            shares.append((stage.name, f"{entry.weight / total:.1%}", what))
    left_out = sorted(set(recipe.recipe.corpora) - set(corpora))
    note = f"\nLeft out, as they could not be had where it was trained: {', '.join(left_out)}.\n" if left_out else ""
    return (
        f"## Data\n\n{_table(('text', 'licence', 'origin', 'documents', 'size'), texts)}{note}\n"
        f"Shares of the tokens of each stage:\n\n{_table(('stage', 'share', 'data'), shares)}"
    )


def _training(records: Sequence[StageRecord]) -> str:
    rows = [
        (
            record.stage.name + (f", {record.stage.num_layers} layers" if record.stage.num_layers else ""),
            f"{record.stage.length:,}",
            f"{record.tokens / 1e6:.2f} M",
            f"{record.steps:,}",
            f"{record.stage.optimizer.learning_rate:g}",
            f"{record.first_loss:.3f} -> {record.last_loss:.3f}",
            f"{record.seconds / 3600:.2f}",
            f"{record.flops:.2e}",
        )
        for record in records
    ]
    tokens = sum(record.tokens for record in records)
    hours = sum(record.seconds for record in records) / 3600
    total = ("all", "", f"{tokens / 1e6:.2f} M", "", "", "", f"{hours:.2f}", f"{sum(r.flops for r in records):.2e}")
    heading = ("stage", "length", "tokens", "steps", "learning rate", "loss", "hours", "FLOPs")
    return f"## Training\n\n{_table(heading, [*rows, total])}"


def _scores(evaluation: Mapping[str, Any]) -> str:
    settings = evaluation["settings"]
    how = "greedily" if settings["temperature"] == 0 else f"at temperature {settings['temperature']:g}"
    rows = [
        (
            result["task"],
            f"{result['mean']:.1%} +- {result['standard_error']:.1%}",
            f"{result['fully_right']:.1%}",
            str(result["count"]),
            f"{result['mean_tokens']:.0f}",
            ", ".join(f"{name} {value:.1%}" for name, value in result["parts"].items()),
        )
        for result in evaluation["tasks"]
    ]
    eased = [f"{task} ({EASED[task]})" for task, *_ in rows if task in EASED]
    note = f"\nEasier than reasoning-gym's defaults: {', '.join(eased)}.\n" if eased else ""
    return (
        f"## Scores\n\nHeld-out problems with seed {settings['seed']}, answered {how} by {evaluation['label']}; the "
        f"error is the standard error of the mean.\n\n"
        f"{_table(('task', 'score', 'fully right', 'n', 'tokens', 'parts'), rows)}{note}"
    )


def _limits(
    recipe: Recipe,
    corpora: Mapping[str, CorpusCard],
    evaluation: Mapping[str, Any],
    records: Sequence[StageRecord],
) -> str:
    megabytes = sum(card.bytes for card in corpora.values()) / 1e6
    tokens = sum(record.tokens for record in records) / 1e6
    data = [entry for stage in recipe.stage for entry in stage.data if isinstance(entry, TaskData)]
    tasks = {name for entry in data for name in entry.tasks}
    weak = sorted((r for r in evaluation["tasks"] if r["mean"] < _WEAK), key=lambda result: float(result["mean"]))
    lines = [
        f"It was trained on {tokens:,.1f} million tokens: {megabytes:,.0f} MB of the English text above and generated "
        f"problems of {len(tasks)} tasks. What lies outside of these it does not know: it "
        "is for trying out the architecture, not for answers that matter.",
    ]
    if weak:
        lines.append(f"Tasks in which it scores below {_WEAK:.0%}, each with a failure:")
        lines.append("\n".join(f"- {result['task']}, {result['mean']:.1%}{_failure(result)}" for result in weak))
    return "## What it can't do\n\n" + "\n\n".join(lines) + "\n"


def _failure(result: Mapping[str, Any]) -> str:
    if not result["failures"]:
        return ""
    failure = result["failures"][0]
    question, reply = _short(failure["messages"][-1]["content"]), failure["reply"]
    answer = reply["content"] or json.dumps([call["function"] for call in reply.get("tool_calls", ())])
    return f": to `{question}` it answered `{_short(answer)}` ({_short(failure['why']) or 'wrong'})"


def _short(text: str | None, length: int = 160) -> str:
    line = " ".join((text or "").replace("`", "'").replace("|", "/").split())
    return line if len(line) <= length else f"{line[: length // 2]} ... {line[-length // 2 :]}"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
