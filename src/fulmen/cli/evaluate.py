"""`fulmen eval`: a model on held-out problems of the tasks."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fulmen.cli.options import DeviceOption, MaxContextOption, QuantizeOption, ThinkOption, ThreadsOption

if TYPE_CHECKING:
    from fulmen.cli.running import LoadedModel
    from fulmen.evals.held_out import TaskResult
    from fulmen.rollout.policy import EnginePolicy
    from fulmen.tasks.task import Task


def evaluate(
    model: Annotated[str | None, typer.Argument(help="A name that `fulmen models` lists, or a folder.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="A task; may be given often. Default: all.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Examples of each task.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the examples.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Write results and failures to this JSON file.")] = None,
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
    """Score a model on held-out problems: the mean of each task, its standard error, and the worst failures."""
    from fulmen.cli.running import load
    from fulmen.tasks.registry import TASKS, make_task

    if list_tasks:
        print("\n".join(TASKS))
        return
    if model is None:
        raise ValueError("MODEL is missing: name a model, or give --list to see the tasks")
    tasks = [make_task(name) for name in task or TASKS]
    loaded = load(model, quantize=quantize, device=device, threads=threads)
    policy = make_policy(loaded, temperature, max_tokens, think, batch, max_context)
    results = []
    for each in tasks:
        results.append(run_task(each, policy, limit, seed))
        if out is not None:  # after each task, so that an interruption loses one at most
            settings = {"temperature": temperature, "max_tokens": max_tokens, "think": think}
            write_results(out, loaded, settings, results)
    print_results(loaded.label, results)


def make_policy(
    loaded: "LoadedModel",
    temperature: float,
    max_tokens: int,
    thinking_budget: int | None,
    batch: int,
    max_context: int | None,
) -> "EnginePolicy":
    """An engine around a model for `batch` replies at once, of contexts up to `max_context` or the model's own."""
    from fulmen.engine.engine import Engine, EngineOptions
    from fulmen.rollout.policy import EnginePolicy
    from fulmen.trace import SamplingParams

    options = EngineOptions(max_context=max_context, max_running=batch, prefix_store=False)
    return EnginePolicy(
        Engine(loaded.decoder, loaded.tokenizer, options=options),
        loaded.tokenizer,
        loaded.template,
        params=SamplingParams(temperature=temperature, max_tokens=max_tokens),
        thinking_budget=thinking_budget,
    )


def run_task(task: "Task", policy: "EnginePolicy", limit: int, seed: int) -> "TaskResult":
    """Evaluate one task with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from fulmen.engine.request import ContextTooLong
    from fulmen.evals.held_out import evaluate

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(task.name, total=limit)
        try:
            return evaluate(
                task, policy, count=limit, seed=seed, report=lambda done: progress.update(bar, completed=done)
            )
        except ContextTooLong as error:
            raise ValueError(f"task {task.name}: {error}. Allow more with --max-context") from error


def write_results(path: Path, loaded: "LoadedModel", settings: dict[str, Any], results: "list[TaskResult]") -> None:
    """Write results as JSON, to the side first."""
    facts = {"model": loaded.name, "label": loaded.label, **settings, "tasks": [r.to_json() for r in results]}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def print_results(label: str, results: "list[TaskResult]") -> None:
    """Print one row for each task."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("task", header_style="bold")
    for heading in ("score", "+-", "fully right", "n", "tokens", "cut", "s"):
        table.add_column(heading, justify="right", header_style="bold")
    table.add_column("parts", header_style="bold")
    for result in results:
        parts = ", ".join(f"{name} {value:.3f}" for name, value in result.parts.items())
        table.add_row(
            result.task,
            f"{result.mean:.3f}",
            f"{result.standard_error:.3f}",
            f"{result.fully_right:.3f}",
            str(result.count),
            f"{result.mean_tokens:.1f}",
            str(result.cut),
            f"{result.seconds:.1f}",
            parts,
        )
    console = Console()
    console.print(label, style="bold", highlight=False)
    console.print(table)
