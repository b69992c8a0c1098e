"""`fulmen chat`: talk to a model, at a terminal or through a pipe."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fulmen.catalog import home
from fulmen.chat.message import Message, ToolSpec, tools_from_openai
from fulmen.cli.options import (
    DEFAULT_MODEL,
    CacheOption,
    ContextFileOption,
    DeviceOption,
    MaxContextOption,
    MaxTokensOption,
    ModelArgument,
    QuantizeOption,
    SeedOption,
    SystemOption,
    TemperatureOption,
    ThinkOption,
    ThreadsOption,
    TopPOption,
)

if TYPE_CHECKING:
    from fulmen.cli.session import ChatSession

_REPLY_TOKENS = 1024  # a small model may fall into a loop, and a reader should not have to wait for its end


def chat(
    model: ModelArgument = DEFAULT_MODEL,
    system: SystemOption = None,
    think: ThinkOption = None,
    tools: Annotated[
        Path | None, typer.Option(help="A JSON file with the tools that the model may call, as OpenAI's API has them.")
    ] = None,
    context: ContextFileOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    quantize: QuantizeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    max_context: MaxContextOption = None,
    cache_gib: CacheOption = 1.0,
) -> None:
    """Talk to a model. Input that is piped in is answered line by line, without decoration.

    At the terminal, Ctrl-C stops a reply, Ctrl-T unfolds the thinking and /help lists more. Piped input is answered
    with the likeliest tokens unless --temperature says otherwise, so that a script gets the same answer each time.
    """
    if context is not None and system is not None:
        raise ValueError("--context brings a system message of its own, the document: leave --system out")
    specs = _read_tools(tools) if tools is not None else ()

    from fulmen.cli.running import load, running
    from fulmen.cli.session import ChatSession
    from fulmen.engine.engine import EngineOptions

    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if temperature is None and not interactive:
        temperature = 0.0
    loaded = load(model, quantize=quantize, device=device, threads=threads)
    options = EngineOptions(max_running=4, max_context=max_context, cache_bytes=int(cache_gib * (1 << 30)))
    with running(loaded, options) as run:
        if context is not None:
            from fulmen.engine.contexts import read_notes

            system = read_notes(context).get("document")
            run.service.load_context(context)
        if max_tokens is None and not run.template.thinks:
            max_tokens = _REPLY_TOKENS
        session = ChatSession(
            run.service,
            run.tokenizer,
            run.template,
            params=run.params(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed),
            messages=[Message(role="system", content=system)] if system else [],
            thinking_budget=run.thinking_budget if think is None else think,
        )
        session.tools = specs
        if interactive:
            _talk(session, run.label)
        else:
            from fulmen.cli.piped import answer_lines

            answer_lines(session, sys.stdin.buffer, out=sys.stdout, err=sys.stderr)


def _talk(session: "ChatSession", label: str) -> None:
    from rich.console import Console

    from fulmen.cli.terminal import TerminalChat

    console = Console()
    console.print(f"[bold]Fulmen[/] [dim]{label}. /help helps, Ctrl-D leaves.[/]", highlight=False)
    TerminalChat(session, console, label=label, history=home() / "chat_history").run()


def _read_tools(path: Path) -> tuple[ToolSpec, ...]:
    try:
        return tools_from_openai(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
