"""`fulmen eval`: a model on held-out problems of the tasks."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fulmen.cli.options import DeviceOption, MaxContextOption, QuantizeOption, ThinkOption, ThreadsOption

if TYPE_CHECKING:
    from fulmen.cli.running import LoadedModel
    from fulmen.evals.held_out import EvaluationSettings, TaskResult
    from fulmen.rollout.policy import EnginePolicy
    from fulmen.tasks.task import Task


def evaluate(
    model: Annotated[str | None, typer.Argument(help="A name that `fulmen models` lists, or a folder.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="A task; may be given often. Default: all.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Examples of each task.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the examples, and of the sampling.")] = 1,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write results and failures to this JSON file.")
    ] = None,
    list_tasks: Annotated[bool, typer.Option("--list", help="List the tasks and stop.")] = False,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of one reply.")] = 512,
    think: ThinkOption = None,
    batch: Annotated[int, typer.Option(min=1, help="Replies written side by side.")] = 32,
    max_context: MaxContextOption = None,
    quantize: QuantizeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Score a model on held-out problems: the mean of each task, its standard error, and the worst failures.

    Tasks gym_... need the extra `train`: pip install -c constraints.txt -e '.\\[train]'
    """
    from fulmen.cli.running import load
    from fulmen.evals.held_out import EvaluationSettings
    from fulmen.tasks.registry import TASKS, make_task

    if list_tasks:
        print("\n".join(TASKS))
        return
    if model is None:
        raise ValueError("MODEL is missing: name a model, or give --list to see the tasks")
    tasks = [make_task(name) for name in task or TASKS]
    settings = EvaluationSettings(
        count=limit,
        seed=seed,
        temperature=temperature,
        max_tokens=max_tokens,
        thinking_budget=think,
        batch=batch,
        max_context=max_context,
    )
    loaded = load(model, quantize=quantize, device=device, threads=threads)
    print_results(evaluate_tasks(loaded, tasks, settings, out))


def evaluate_tasks(
    loaded: "LoadedModel",
    tasks: "Sequence[Task]",
    settings: "EvaluationSettings",
    out: Path | None = None,
    *,
    counts: Mapping[str, int] | None = None,
    known: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Evaluate all tasks but those `known`, which are results of before; returns what is written to `out`.

    `counts` has examples by task, where these aren't the settings'. A task whose problems don't fit into the context
    is left out with a warning; ValueError if that leaves none.
    """
    from fulmen.engine.request import ContextTooLong

    policy = _make_policy(loaded, settings)
    done = {result["task"]: result for result in known}
    facts = {"model": loaded.name, "label": loaded.label, "settings": dataclasses.asdict(settings)}
    problem = "there is no task to evaluate"
    for task in tasks:
        if task.name in done:
            continue
        count = (counts or {}).get(task.name, settings.count)
        try:
            done[task.name] = _run_task(task, policy, dataclasses.replace(settings, count=count)).to_json()
        except ContextTooLong as error:
            problem = f"task {task.name}: {error}. Allow more with --max-context"
            typer.echo(f"warning: left out {problem}", err=True)
            continue
        if out is not None:  # after each task, so that an interruption loses one at most
            _write(out, facts | {"tasks": list(done.values())})
    if not done:
        raise ValueError(problem)
    return facts | {"tasks": [done[task.name] for task in tasks if task.name in done]}


def _make_policy(loaded: "LoadedModel", settings: "EvaluationSettings") -> "EnginePolicy":
    from fulmen.engine.engine import Engine, EngineOptions
    from fulmen.rollout.policy import EnginePolicy
    from fulmen.trace import SamplingParams

    options = EngineOptions(max_context=settings.max_context, max_running=settings.batch, prefix_store=False)
    return EnginePolicy(
        Engine(loaded.decoder, loaded.tokenizer, options=options),
        loaded.tokenizer,
        loaded.template,
        params=SamplingParams(temperature=settings.temperature, max_tokens=settings.max_tokens, seed=settings.seed),
        thinking_budget=settings.thinking_budget,
    )


def _run_task(task: "Task", policy: "EnginePolicy", settings: "EvaluationSettings") -> "TaskResult":
    """Evaluate one task with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from fulmen.evals.held_out import evaluate

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(task.name, total=settings.count)
        return evaluate(
            task,
            policy,
            count=settings.count,
            seed=settings.seed,
            report=lambda done: progress.update(bar, completed=done),
        )


def _write(path: Path, facts: dict[str, Any]) -> None:
    """Write JSON to the side and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def print_results(facts: dict[str, Any]) -> None:
    """Print one row for each task."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("task", header_style="bold")
    for heading in ("score", "+-", "fully right", "n", "tokens", "cut", "s"):
        table.add_column(heading, justify="right", header_style="bold")
    table.add_column("parts", header_style="bold")
    for result in facts["tasks"]:
        table.add_row(
            result["task"],
            *(f"{result[key]:.3f}" for key in ("mean", "standard_error", "fully_right")),
            str(result["count"]),
            f"{result['mean_tokens']:.1f}",
            str(result["cut"]),
            f"{result['seconds']:.1f}",
            ", ".join(f"{name} {value:.3f}" for name, value in result["parts"].items()),
        )
    console = Console()
    console.print(facts["label"], style="bold", highlight=False)
    console.print(table)
