"""`fulmen context`: a long document is computed once, kept in a file, and asked about whenever one likes."""

from pathlib import Path
from typing import Annotated

import typer

from fulmen.cli.chat import chat
from fulmen.cli.options import (
    DEFAULT_MODEL,
    CacheOption,
    DeviceOption,
    MaxContextOption,
    ModelOption,
    QuantizeOption,
    ThreadsOption,
)

context = typer.Typer(help="Keep a computed document in a file and reopen it.", no_args_is_help=True)

_File = Annotated[Path, typer.Argument(help="The file that keeps the computed document.")]


@context.command()
def save(
    document: Annotated[Path, typer.Argument(help="A text file.", exists=True, dir_okay=False)],
    file: _File,
    model: ModelOption = DEFAULT_MODEL,
    quantize: QuantizeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    max_context: MaxContextOption = None,
    cache_gib: CacheOption = 4.0,
) -> None:
    """Compute a document as the beginning of a conversation, and write its keys, values and states to one file."""
    from rich.console import Console

    from fulmen.chat.message import Message
    from fulmen.chat.prompt import build_prompt
    from fulmen.cli.running import load
    from fulmen.engine.engine import Engine, EngineOptions

    if not file.parent.is_dir():
        raise ValueError(f"{file} can't be written: there is no folder {file.parent}")
    text = document.read_text(encoding="utf-8")
    if not text.strip():
        raise ValueError(f"{document} is empty: there is nothing to keep")
    loaded = load(model, quantize=quantize, device=device, threads=threads)

    def ids(question: str) -> tuple[int, ...]:
        messages = [Message(role="system", content=text), Message(role="user", content=question)]
        return build_prompt(messages, tokenizer=loaded.tokenizer, template=loaded.template).ids

    one, other = ids("a"), ids("1")
    length = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    options = EngineOptions(max_running=1, max_snapshots=2, max_context=max_context, cache_bytes=int(cache_gib * 2**30))
    engine = Engine(loaded.decoder, loaded.tokenizer, options=options)
    with Console(stderr=True).status(f"Computing {length:,} tokens of {document}"):
        engine.save_context(file, one[:length], notes={"document": text, "model": loaded.name})
    print(f"{length:,} tokens, {file.stat().st_size / 1e6:,.1f} MB in {file}")


@context.command()
def load(
    file: _File,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Default: the one that saved it.")] = None,
    quantize: QuantizeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Reopen a document and chat about it; nothing of it is computed again. Piped questions are answered by line."""
    from fulmen.engine.contexts import read_notes

    name = model or read_notes(file).get("model", DEFAULT_MODEL)
    chat(name, context=file, quantize=quantize, device=device, threads=threads)


@context.command()
def show(file: _File) -> None:
    """Say what a file keeps."""
    from fulmen.engine.contexts import read_notes

    notes = read_notes(file)
    document = notes.get("document", "")
    print(
        f"{file}: {notes['tokens']} tokens, {file.stat().st_size / 1e6:,.1f} MB, model {notes.get('model', 'unknown')}"
    )
    print(document if len(document) <= 400 else f"{document[:200]}\n[...]\n{document[-200:]}")
