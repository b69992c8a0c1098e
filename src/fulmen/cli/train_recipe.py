"""`fulmen train recipe`: from nothing to a finished model, in steps that are skipped where they are done."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fulmen.cli.train import warnings_in_one_line

if TYPE_CHECKING:
    from fulmen.train.corpora import CorpusCard
    from fulmen.train.recipe import Recipe


def train_recipe(
    name: Annotated[str, typer.Argument(help="A recipe of the package, such as spark, or a TOML file.")],
    scale: Annotated[float, typer.Option(min=1e-6, help="Multiplies every budget of tokens and examples.")] = 1.0,
    folder: Annotated[Path | None, typer.Option(help="Gets everything. Default: runs/NAME.")] = None,
) -> None:
    """Make a model from nothing: texts, vocabulary, training, checkpoint, evaluation, card. Run it again to go on.

    Recipes such as spark need the extra `train`: pip install -c constraints.txt -e '.\\[train]'
    """
    from fulmen.runlog import read_metrics
    from fulmen.tasks.registry import TASKS, make_task
    from fulmen.train import recipe_steps as steps
    from fulmen.train.model_card import write_card
    from fulmen.train.recipe import read_recipe, recipe_text
    from fulmen.train.run_folder import METRICS, claimed

    folder = folder or Path("runs") / Path(name).stem
    recipe = read_recipe(name, folder, task_names=TASKS, scale=scale)
    for task in sorted({task for tasks in recipe.tasks().values() for task in tasks}):
        make_task(task)  # one that lacks a package says so before texts are fetched
    with warnings_in_one_line(shown=True), claimed(folder):
        steps.begin(recipe, folder)
        corpora = _corpora(recipe, folder)
        recipe = recipe.with_corpora(corpora)
        with _step("vocabulary"):
            steps.make_tokenizer(recipe, folder, corpora, TASKS)
        steps.train(recipe, folder, TASKS)
        checkpoint = steps.export(recipe, folder)
        evaluation = _evaluate(recipe, checkpoint, folder / "evaluation.json")
        write_card(
            checkpoint,
            recipe=recipe,
            recipe_source=recipe_text(name),
            scale=scale,
            corpora=corpora,
            metrics=read_metrics(folder / "training" / METRICS),
            evaluation=evaluation,
        )
    print(checkpoint)


def _corpora(recipe: "Recipe", folder: Path) -> "dict[str, CorpusCard]":
    from rich.console import Console
    from rich.progress import Progress

    from fulmen.train.recipe_steps import make_corpora

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bars = {name: progress.add_task(name, total=1.0) for name in recipe.recipe.corpora}
        return make_corpora(recipe, folder, lambda name, done: progress.update(bars[name], completed=done))


def _step(name: str) -> Any:
    from rich.console import Console

    return Console(stderr=True).status(name)


def _evaluate(recipe: "Recipe", checkpoint: Path, out: Path) -> dict[str, Any]:
    """Score the finished checkpoint; results of the same weights and settings that are there already stand."""
    import dataclasses

    from fulmen.cli.evaluate import evaluate_tasks, print_results
    from fulmen.cli.running import load
    from fulmen.evals.held_out import EvaluationSettings
    from fulmen.tasks.registry import make_task

    table = recipe.evaluation
    settings = EvaluationSettings(count=table.examples, seed=table.seed, max_tokens=table.max_tokens)
    before = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"settings": None, "tasks": []}
    fresh = out.is_file() and out.stat().st_mtime >= (checkpoint / "config.json").stat().st_mtime
    known = before["tasks"] if fresh and before["settings"] == dataclasses.asdict(settings) else []
    counts = {name: max(1, round(table.examples * factor)) for name, factor in table.tasks.items()}
    tasks = [make_task(name) for name in counts]
    facts = evaluate_tasks(load(str(checkpoint)), tasks, settings, out, counts=counts, known=known)
    print_results(facts)
    return facts
