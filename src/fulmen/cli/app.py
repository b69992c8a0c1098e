"""Assembles the commands."""

from importlib.metadata import version
from typing import Annotated

import typer

from fulmen.cli.agent import agent
from fulmen.cli.bench import bench
from fulmen.cli.chat import chat
from fulmen.cli.complete import complete
from fulmen.cli.context import context
from fulmen.cli.convert import convert
from fulmen.cli.evaluate import evaluate
from fulmen.cli.mcp import mcp
from fulmen.cli.models import models
from fulmen.cli.pull import pull
from fulmen.cli.serve import serve
from fulmen.cli.train import train
from fulmen.cli.train_recipe import train_recipe

app = typer.Typer(
    name="fulmen",
    help="An open MiniMax-M1: chat with a model, serve it, train it, convert it, measure it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (chat, complete, agent, serve, pull, models, convert):
    app.command()(command)
app.add_typer(context, name="context")
app.command()(bench)
app.command(name="eval")(evaluate)
train.command(name="recipe")(train_recipe)
app.add_typer(train, name="train")
app.add_typer(mcp, name="mcp")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fulmen {version('fulmen')}")
        raise typer.Exit


@app.callback()
def fulmen(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """An open MiniMax-M1: chat with a model, serve it, train it, convert it, measure it."""
