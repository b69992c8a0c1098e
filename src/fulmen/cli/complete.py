"""`fulmen complete`: let a model continue a text, without a chat template."""

import sys
from typing import Annotated

import typer

from fulmen.cli.options import (
    DEFAULT_MODEL,
    DeviceOption,
    ModelOption,
    QuantizeOption,
    SeedOption,
    TemperatureOption,
    ThreadsOption,
    TopPOption,
)


def complete(
    prompt: Annotated[str | None, typer.Argument(help="The text to continue; without it, standard input.")] = None,
    model: ModelOption = DEFAULT_MODEL,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to write.")] = 128,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    seed: SeedOption = None,
    quantize: QuantizeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Continue a text and print the continuation as it is written."""
    if prompt is None:
        if sys.stdin.isatty():
            raise ValueError('there is no text to continue: give it as an argument, fulmen complete "Once upon a time"')
        prompt = sys.stdin.read()
    if not prompt:
        raise ValueError("the text to continue is empty")

    from fulmen.chat.tokenizer import IncrementalDecoder
    from fulmen.cli.running import load, running

    loaded = load(model, quantize=quantize, device=device, threads=threads)
    with running(loaded) as run:
        params = run.params(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
        decoder = IncrementalDecoder()
        ids = run.tokenizer.encode(prompt, allow_special=True, add_bos=True)
        for event in run.service.stream(ids, params):
            if event.token_id is not None:
                print(decoder.feed(run.tokenizer.token_bytes[event.token_id]), end="", flush=True)
        print(decoder.finish())
