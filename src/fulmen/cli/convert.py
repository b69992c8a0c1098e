"""`fulmen convert`: checkpoints from one layout to another, and from a dense model to a hybrid."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from fulmen.catalog import resolve
from fulmen.cli.hybrid import HybridOptions, OnBrokenOption, convert_to_hybrid

if TYPE_CHECKING:
    from fulmen.config_formats import Family


def convert(
    source: Annotated[str, typer.Argument(help="A GGUF file, a checkpoint folder, or a name of `fulmen models`.")],
    target: Annotated[Path, typer.Argument(help="The folder to write; it must not be there yet.")],
    to: Annotated[
        Literal["minimax_m1", "minimax", "llama", "qwen2"] | None,
        typer.Option(help="Layout: MiniMax-M1's as published, or a family of transformers. Default: the same."),
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None, typer.Option(help="Of the weights. Default: as they are.")
    ] = None,
    shard_gib: Annotated[float, typer.Option(min=0.001, help="Largest file of weights, in GiB.")] = 4.0,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Make a hybrid like MiniMax-M1 of a dense Llama, by distillation.")
    ] = False,
    softmax_every: Annotated[
        int | None, typer.Option(min=1, help="Hybrid: every so many layers one keeps softmax attention. Default: 8.")
    ] = None,
    keep_softmax: Annotated[
        str | None, typer.Option(help="Hybrid: the layers, from 0, that keep softmax attention, like 3,11,19.")
    ] = None,
    experts: Annotated[
        int | None, typer.Option(min=1, help="Hybrid: copies of each feed-forward that become experts. Default: none.")
    ] = None,
    experts_per_token: Annotated[
        int | None, typer.Option(min=1, help="Hybrid: experts that a token passes. Default: 2.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Hybrid: time to learn. Default: 30.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Hybrid: tokens to learn from, instead of a time.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(exists=True, help="Hybrid: .txt and .jsonl files to learn from. Default: Python's documentation."),
    ] = None,
    on_broken: OnBrokenOption = None,
) -> None:
    """Convert a GGUF file or a checkpoint folder to another layout or precision, or a dense model to a hybrid.

    A hybrid learns from the dense model for --minutes; the same command continues what was interrupted.
    """
    if target.exists():
        raise ValueError(f"{target} is there already: name a new folder, or remove it first")
    options = HybridOptions(
        softmax_every=softmax_every, keep_softmax=keep_softmax, experts=experts, experts_per_token=experts_per_token,
        minutes=minutes, tokens=tokens, data=data, on_broken=on_broken,
    )  # fmt: skip
    if options.given() and not hybrid:
        raise ValueError(f"{options.given()[0]} is about a hybrid: add --hybrid, or leave it out")
    if hybrid:
        if Path(source).is_file():
            raise ValueError(f"{source} is a file: convert it to a folder first, and that folder to a hybrid")
        if to not in (None, "minimax_m1") or dtype not in (None, "float32"):
            raise ValueError("a hybrid is written in float32 and the minimax_m1 layout; convert that folder further")
        convert_to_hybrid(resolve(source), target, options)
    elif Path(source).is_file():
        if to not in (None, "llama") or dtype not in (None, "float32"):
            raise ValueError("a GGUF file becomes a float32 folder of the llama layout; convert that folder further")
        _from_gguf(Path(source), target)
    else:
        _between_layouts(resolve(source), target, to, dtype, int(shard_gib * (1 << 30)))
    print(target)


def _from_gguf(source: Path, target: Path) -> None:
    from fulmen.gguf import convert_gguf

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"Converting {source.name}", total=None)
        convert_gguf(source, target, progress=lambda done, total: progress.update(task, completed=done, total=total))


def _between_layouts(source: Path, target: Path, to: "Family | None", dtype: str | None, max_bytes: int) -> None:
    import torch

    from fulmen.chat.tokenizer import copy_tokenizer, read_json
    from fulmen.config_formats import family_of, read_config_file, write_config
    from fulmen.model.weights import load_checkpoint, save_checkpoint

    facts = read_json(source / "config.json")
    family = to or family_of(facts)
    write_config(read_config_file(source / "config.json"), family)  # refuses before gigabytes are read
    kept = str(facts.get("torch_dtype") or facts.get("dtype") or "float32")
    with Console(stderr=True).status(f"Converting {source}"):
        model = load_checkpoint(source, dtype=getattr(torch, dtype or kept))
        save_checkpoint(model, target, family=family, max_shard_bytes=max_bytes)
        copy_tokenizer(source, target)
