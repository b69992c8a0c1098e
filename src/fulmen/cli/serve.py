"""`fulmen serve`: a model behind OpenAI's API."""

from pathlib import Path
from typing import Annotated

import typer

from fulmen.cli.options import (
    DEFAULT_MODEL,
    CacheOption,
    DeviceOption,
    MaxContextOption,
    ModelArgument,
    QuantizeOption,
    TemperatureOption,
    ThinkOption,
    ThreadsOption,
    TopPOption,
)


def serve(
    model: ModelArgument = DEFAULT_MODEL,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    name: Annotated[str | None, typer.Option(help="What clients call the model. Default: its own name.")] = None,
    api_keys: Annotated[
        str, typer.Option(envvar="FULMEN_API_KEYS", help="Accepted keys, separated by commas.", show_default=False)
    ] = "",
    context: Annotated[
        list[Path] | None, typer.Option(help="A file of `fulmen context save` to keep ready; may be given often.")
    ] = None,
    think: ThinkOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    max_context: MaxContextOption = None,
    max_running: Annotated[int, typer.Option(min=1, help="Replies that are computed side by side.")] = 32,
    max_queue: Annotated[int, typer.Option(min=0, help="Replies that wait; more are refused with 429.")] = 256,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="Largest request, in MB.")] = 64,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="A web page's origin that may call; may be given often.")
    ] = None,
    drain_seconds: Annotated[float, typer.Option(min=0, help="Time for running replies after SIGTERM.")] = 30,
    quantize: QuantizeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    cache_gib: CacheOption = 2.0,
) -> None:
    """Serve a model: a chat page at /, and OpenAI's API.

    Its paths: /v1/chat/completions, /v1/completions, /v1/responses, /v1/models, /tokenize, /health, /metrics.
    """
    from fulmen.cli.running import load, running
    from fulmen.engine.engine import EngineOptions
    from fulmen.server.run import serve as run_server
    from fulmen.server.served_model import ServedModel, ServerOptions

    loaded = load(model, quantize=quantize, device=device, threads=threads)
    engine = EngineOptions(
        max_context=max_context, max_running=max_running, max_queue=max_queue, cache_bytes=int(cache_gib * (1 << 30))
    )
    server = ServerOptions(
        api_keys=tuple(key.strip() for key in api_keys.split(",") if key.strip()),
        max_body_bytes=int(max_body_mb * 1e6),
        cors_origins=tuple(cors_origin or ()),
        drain_seconds=drain_seconds,
    )
    with running(loaded, engine) as run:
        for file in context or ():
            run.service.load_context(file)
        served = ServedModel(
            name=name or run.name,
            service=run.service,
            tokenizer=run.tokenizer,
            template=run.template,
            max_context=run.service.max_context,
            defaults=run.params(temperature=temperature, top_p=top_p),
            thinking_budget=run.thinking_budget if think is None else think,
            created=int(run.folder.stat().st_mtime),
        )
        run_server(served, server, host=host, port=port)
