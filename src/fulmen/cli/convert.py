"""`fulmen convert`: checkpoints from one layout to another."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

if TYPE_CHECKING:
    from fulmen.config_formats import Family

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
    "special_tokens_map.json", "vocab.json", "merges.txt",
)  # fmt: skip


def convert(
    source: Annotated[Path, typer.Argument(help="A GGUF file, or a checkpoint folder.", exists=True)],
    target: Annotated[Path, typer.Argument(help="The folder to write; it must not be there yet.")],
    to: Annotated[
        Literal["minimax_m1", "minimax", "llama", "qwen2"] | None,
        typer.Option(help="Layout: MiniMax-M1's as published, or a family of transformers. Default: the same."),
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None, typer.Option(help="Of the weights. Default: as they are.")
    ] = None,
    shard_gib: Annotated[float, typer.Option(min=0.001, help="Largest file of weights, in GiB.")] = 4.0,
) -> None:
    """Convert a GGUF file or a checkpoint folder to safetensors in another layout or precision."""
    if target.exists():
        raise ValueError(f"{target} is there already: name a new folder, or remove it first")
    if source.is_file():
        if to not in (None, "llama") or dtype not in (None, "float32"):
            raise ValueError("a GGUF file becomes a float32 folder of the llama layout; convert that folder further")
        _from_gguf(source, target)
    else:
        _between_layouts(source, target, to, dtype, int(shard_gib * (1 << 30)))
    print(target)


def _from_gguf(source: Path, target: Path) -> None:
    from fulmen.gguf import convert_gguf

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"Converting {source.name}", total=None)
        convert_gguf(source, target, progress=lambda done, total: progress.update(task, completed=done, total=total))


def _between_layouts(source: Path, target: Path, to: "Family | None", dtype: str | None, max_bytes: int) -> None:
    import torch

    from fulmen.chat.tokenizer import read_json
    from fulmen.config_formats import family_of, read_config_file, write_config
    from fulmen.model.weights import load_checkpoint, save_checkpoint

    if not (source / "config.json").is_file():
        raise ValueError(f"{source} has no config.json: it is no checkpoint folder")
    facts = read_json(source / "config.json")
    family = to or family_of(facts)
    write_config(read_config_file(source / "config.json"), family)  # refuses before gigabytes are read
    kept = str(facts.get("torch_dtype") or facts.get("dtype") or "float32")
    with Console(stderr=True).status(f"Converting {source}"):
        model = load_checkpoint(source, dtype=getattr(torch, dtype or kept))
        save_checkpoint(model, target, family=family, max_shard_bytes=max_bytes)
        for file in (source / name for name in _TOKENIZER_FILES):
            if file.is_file():
                shutil.copy2(file, target / file.name)
