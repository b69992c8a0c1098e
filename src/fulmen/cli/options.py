"""Arguments and options that several commands share, so that they are called and explained alike."""

from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_MODEL = "spark"
_MODEL_HELP = "A name that `fulmen models` lists, or a folder with a checkpoint."

Quantize = Literal["auto", "none", "int8"]

ModelArgument = Annotated[str, typer.Argument(help=_MODEL_HELP, metavar="MODEL")]
ModelOption = Annotated[str, typer.Option("--model", "-m", help=_MODEL_HELP, metavar="MODEL")]
QuantizeOption = Annotated[
    Quantize, typer.Option(help="int8 reads weights of one byte; auto takes it on a CPU with native kernels.")
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: one per core.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1. Default: a GPU if there is one.")]
TemperatureOption = Annotated[
    float | None, typer.Option(min=0.0, help="0 always takes the likeliest token. Default: what the model recommends.")
]
TopPOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Sample from the likeliest tokens that hold this probability.")
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(min=1, help="Most tokens of one reply. Default: 1,024; if the model thinks, what the context holds."),
]
SeedOption = Annotated[int | None, typer.Option(help="Same seed and same input: same reply.")]
ThinkOption = Annotated[
    int | None,
    typer.Option("--think", min=0, help="Most tokens that the model may think before it answers; 0: none."),
]
SystemOption = Annotated[str | None, typer.Option(help="A system message.")]
MaxContextOption = Annotated[
    int | None, typer.Option(min=2, help="Most tokens of prompt and reply together. Default: what the model is for.")
]
CacheOption = Annotated[float, typer.Option(min=0.001, help="Memory for keys, values and states, in GiB.")]
ContextFileOption = Annotated[
    Path | None, typer.Option("--context", help="A file of `fulmen context save`, whose document the chat is about.")
]
ToolsOption = Annotated[
    list[str] | None,
    typer.Option(help="calculator, python, files:FOLDER, edit:FOLDER, documents:FOLDER; may be given often."),
]
ApiKeyOption = Annotated[
    str | None, typer.Option(envvar="OPENAI_API_KEY", help="For the endpoint.", show_default=False)
]


def given_options(context: typer.Context) -> list[str]:
    """Names of the parameters that stand on the command line, as in `["tools", "port"]`; variables don't count."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
