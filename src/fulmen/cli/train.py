"""`fulmen train`: weights from samples, as a TOML file says, and the report of how it went."""

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from fulmen.train.configuration import RunConfiguration

train = typer.Typer(
    help="Train a model: pretraining, fine-tuning, the report of a run. "
    "Runs on many processes too: `torchrun --nproc-per-node 2 -m fulmen train pretrain CONFIG.toml`.",
    no_args_is_help=True,
)

ConfigArgument = Annotated[Path, typer.Argument(help="The TOML file of the run.", metavar="CONFIG.toml")]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Begin anew; what the run's folder holds is kept beside it under another name.")
]


@train.command()
def pretrain(config: ConfigArgument, fresh: FreshOption = False) -> None:
    """Train on whole texts: data of no kind is text. The same command again goes on where it stopped."""
    _run(config, "text", fresh)


@train.command()
def sft(config: ConfigArgument, fresh: FreshOption = False) -> None:
    """Fine-tune on replies: data of no kind is conversations. The same command again goes on where it stopped."""
    _run(config, "chat", fresh)


@train.command()
def report(run_folder: Annotated[Path, typer.Argument(help="The folder of a run, finished or not.")]) -> None:
    """Draw a run's curves: report.html, which needs no other file, and report.png."""
    from fulmen.train.report import write_report

    for path in write_report(run_folder):
        print(path)


def _run(path: Path, data_kind: Literal["text", "chat"], fresh: bool) -> None:
    from fulmen.train.configuration import read_configuration

    configuration = read_configuration(path, data_kind=data_kind)
    first = os.environ.get("RANK", "0") == "0"  # as torchrun numbers its processes
    with warnings_in_one_line(shown=first):
        _train(configuration, fresh=fresh, first=first)
    if not first:
        return
    _try_report(configuration.run.folder)
    print(configuration.run.folder / configuration.stage[-1].name)


def _train(configuration: "RunConfiguration", *, fresh: bool, first: bool) -> None:
    from fulmen.catalog import home
    from fulmen.train.configuration import TaskData
    from fulmen.train.data.files import Writing
    from fulmen.train.data.opening import open_stages
    from fulmen.train.run import run_stages

    run, stages = configuration.run, configuration.stage
    writing = Writing.load(configuration.tokenizer_folder)
    tasks = {}
    if any(isinstance(data, TaskData) for stage in stages for data in stage.data):
        from fulmen.tasks.registry import TASKS

        tasks = TASKS
    start = configuration.start(writing.tokenizer)
    opened = open_stages(stages, writing, tasks, seed=run.seed, cache=home() / "tokens")
    if first:
        _announce(configuration, fresh=fresh)
    run_stages(
        start,
        stages,
        opened,
        run.folder,
        checkpoints=configuration.checkpoint,
        seed=run.seed,
        tokenizer_folder=configuration.tokenizer_folder,
    )


def _announce(configuration: "RunConfiguration", *, fresh: bool) -> None:
    """Say what begins or goes on, and put an earlier run aside if asked to."""
    from fulmen.train.run_folder import claimed

    run, stages = configuration.run, configuration.stage
    if fresh and run.folder.exists():
        number = next(n for n in range(1, sys.maxsize) if not run.folder.with_name(f"{run.folder.name}.{n}").exists())
        kept = run.folder.with_name(f"{run.folder.name}.{number}")
        with claimed(run.folder):
            shutil.move(run.folder, kept)
        typer.echo(f"the earlier run is kept in {kept}", err=True)
    steps = sorted((run.folder / "checkpoints").glob("step-*"))
    how = f"goes on from {steps[-1]} (--fresh begins anew)" if steps else f"begins in {run.folder}"
    amount = sum(stage.tokens for stage in stages)
    typer.echo(f"{run.name}: {', '.join(stage.name for stage in stages)}, {amount:,} tokens; {how}", err=True)


def _try_report(folder: Path) -> None:
    from fulmen.train.report import write_report

    try:
        write_report(folder)
    except RuntimeError as error:  # the run is done all the same
        typer.echo(f"no report: {error}", err=True)


@contextmanager
def warnings_in_one_line(*, shown: bool) -> Iterator[None]:
    """Show warnings without the place in the code that gave them, or not at all."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if shown:
            typer.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
