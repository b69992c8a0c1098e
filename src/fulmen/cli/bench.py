"""`fulmen bench`: how fast the engine is on this machine, beside what the machine could do."""

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from fulmen.cli.options import DEFAULT_MODEL, DeviceOption, ModelArgument, QuantizeOption, ThreadsOption

if TYPE_CHECKING:
    from fulmen.cli.running import LoadedModel


def bench(
    model: ModelArgument = DEFAULT_MODEL,
    prompt: Annotated[list[int], typer.Option(help="Tokens of a prompt; may be given often.")] = [128, 1024, 4096],  # noqa: B006
    batch: Annotated[list[int], typer.Option(help="Replies decoded side by side; may be given often.")] = [1, 4, 16],  # noqa: B006
    steps: Annotated[int, typer.Option(min=2, help="Decode steps of each batch.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    quantize: QuantizeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Measure prefill and decode of a model in the engine, and the machine's own limits in the same run."""
    from rich.console import Console
    from rich.progress import Progress

    from fulmen.cli.running import load

    loaded = load(model, quantize=quantize, device=device, threads=threads)
    longest = loaded.decoder.config.max_context - steps - 1
    lengths = [length for length in prompt if length <= longest]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Measuring", total=len(lengths) + len(batch) + 1)

        def measured(run: Callable[[], float]) -> float:
            speed = run()
            progress.advance(task)
            return speed

        gemm, bandwidth = _limits(loaded)
        progress.advance(task)
        prefill = {length: measured(partial(_prefill, loaded, length)) for length in lengths}
        decode = {size: measured(partial(_decode, loaded, size, steps)) for size in batch}
    if as_json:
        figures = {"model": loaded.label, "gemm_gflops": gemm, "bandwidth_gbs": bandwidth}
        print(json.dumps(figures | {"prefill_tokens_per_second": prefill, "decode_tokens_per_second": decode}))
    else:
        _print(loaded, gemm, bandwidth, prefill, decode)


def _prefill(loaded: "LoadedModel", length: int) -> float:
    """Tokens per second from a request to its first token; the median of three."""
    from fulmen.engine.engine import Engine, EngineOptions
    from fulmen.trace import SamplingParams

    engine = Engine(loaded.decoder, loaded.tokenizer, options=EngineOptions(prefix_store=False, max_running=1))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        engine.generate([[5 + i % 64 for i in range(length)]], SamplingParams(temperature=0.0, max_tokens=1))
        times.append(time.perf_counter() - start)
    return length / statistics.median(times)


def _decode(loaded: "LoadedModel", batch: int, steps: int) -> float:
    """Tokens per second of all replies together, after prompts of 64 tokens."""
    from fulmen.engine.engine import Engine, EngineOptions
    from fulmen.trace import SamplingParams

    engine = Engine(loaded.decoder, loaded.tokenizer, options=EngineOptions(prefix_store=False, max_running=batch))
    params = SamplingParams(temperature=0.0, max_tokens=steps + 8, ignore_eos=True)
    for i in range(batch):
        engine.add([5 + (i + j) % 64 for j in range(64)], params)
    started: set[int] = set()
    while len(started) < batch:
        started |= {request for request, _ in engine.step()}
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        engine.step()
        times.append(time.perf_counter() - start)
    return batch / statistics.median(times)


def _limits(loaded: "LoadedModel") -> tuple[float, float]:
    """Matrix products in GFLOP/s in the model's dtype, and reading of memory in GB/s."""
    import torch

    weight = loaded.decoder.model.norm.weight
    a, read = torch.randn(2048, 2048).to(weight), torch.ones(1 << 27).to(weight.device)

    def fastest(run: Callable[[], torch.Tensor]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            run().flatten()[:1].item()  # waits for a GPU
            times.append(time.perf_counter() - start)
        return min(times)

    return 2 * 2048**3 / fastest(lambda: a @ a) / 1e9, read.nbytes / fastest(read.sum) / 1e9


def _print(
    loaded: "LoadedModel", gemm: float, bandwidth: float, prefill: dict[int, float], decode: dict[int, float]
) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{loaded.label}[/]")
    console.print(f"machine: matrix products {gemm:,.0f} GFLOP/s, memory {bandwidth:,.1f} GB/s")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("")
    table.add_column("tokens/s", justify="right")
    table.add_column("ms", justify="right")
    for length, speed in prefill.items():
        table.add_row(f"prefill of {length:,} tokens", f"{speed:,.0f}", f"{length / speed * 1e3:,.0f}")
    for size, speed in decode.items():
        table.add_row(f"decode of {size} side by side", f"{speed:,.1f}", f"{size / speed * 1e3:,.1f} a step")
    console.print(table)
