"""What a long context costs: Fulmen's hybrid against transformers' Mixtral, the same sizes with softmax everywhere.

Three questions, one table each: from which length on the hybrid prefills faster; how a decode step grows with the
context behind it; and how the hybrid's own prefill time per token and peak memory grow to 128K tokens.
"""

import argparse
import statistics
from collections.abc import Callable

import torch

from benchmarks.harness import Report, paired, peak_memory, seconds
from benchmarks.models import SIZES, NumberedVocabulary, fulmen_hybrid, prefill_flops, transformers_softmax
from fulmen.engine.engine import Engine, EngineOptions
from fulmen.model.decoder import Decoder
from fulmen.trace import SamplingParams

_CHUNK = 2048


def engine_for(model: Decoder, length: int) -> Engine:
    """An engine with room for one sequence of `length` tokens and a short reply."""
    options = EngineOptions(max_context=length + 256, max_tokens_per_step=_CHUNK, prefix_store=False)
    return Engine(model, NumberedVocabulary(SIZES["vocab_size"]), options=options)


def prompt_of(length: int) -> list[int]:
    """A random prompt, the same for both sides."""
    generator = torch.Generator().manual_seed(length)
    return torch.randint(0, SIZES["vocab_size"], (length,), generator=generator).tolist()


def peer_prefill(prompt: list[int]) -> tuple[float, Callable[[], float]]:
    """Seconds that Mixtral takes for the prompt, in chunks as it must be served, and a timed decode step after it."""
    peer = transformers_softmax()
    ids = torch.tensor([prompt])
    cache = None

    def run() -> None:
        nonlocal cache
        cache = None
        for chunk in ids.split(_CHUNK, dim=1):
            cache = peer(chunk, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values

    def step() -> float:
        return seconds(lambda: peer(ids[:, :1], past_key_values=cache, use_cache=True, logits_to_keep=1))

    with torch.inference_mode():
        return seconds(run), step


def fulmen_prefill(model: Decoder, prompt: list[int]) -> tuple[float, Callable[[], float]]:
    """Seconds that the engine takes for the prompt, and a timed decode step after it."""
    engine = engine_for(model, len(prompt))
    engine.add(prompt, SamplingParams(temperature=0.0, max_tokens=200, ignore_eos=True))

    def run() -> None:
        while not engine.step():
            pass

    return seconds(run), lambda: seconds(engine.step)


def measured_prefill(model: Decoder, length: int) -> tuple[float, int]:
    """Seconds that the engine takes for a prompt of `length` tokens, and its peak memory above the weights in bytes."""
    prompt, times = prompt_of(length), []
    peak = peak_memory(lambda: times.append(fulmen_prefill(model, prompt)[0]))
    return times[0], peak


def crossover(model: Decoder, lengths: list[int], threads: int) -> None:
    """Prefill and decode of both at each length."""
    columns = ["tokens", "fulmen tok/s", "mixtral tok/s", "ratio", "fulmen step ms", "mixtral step ms", "ratio"]
    report = Report("Hybrid (Fulmen) against softmax everywhere (transformers' Mixtral), float32", columns, threads)
    for length in lengths:
        prompt = prompt_of(length)
        steps: dict[str, Callable[[], float]] = {}

        def ours(prompt: list[int] = prompt, steps: dict[str, Callable[[], float]] = steps) -> float:
            time, steps["fulmen"] = fulmen_prefill(model, prompt)
            return time

        def theirs(prompt: list[int] = prompt, steps: dict[str, Callable[[], float]] = steps) -> float:
            time, steps["mixtral"] = peer_prefill(prompt)
            return time

        mine, other = paired(ours, theirs, max(1, min(3, 16_384 // length)))
        with torch.inference_mode():
            decode = {name: statistics.median(step() for _ in range(12)) for name, step in steps.items()}
        report.row(
            f"{length:,}",
            f"{length / mine:,.0f}",
            f"{length / other:,.0f}",
            f"{other / mine:.2f}x",
            f"{decode['fulmen'] * 1e3:.1f}",
            f"{decode['mixtral'] * 1e3:.1f}",
            f"{decode['mixtral'] / decode['fulmen']:.2f}x",
        )
    report.print()


def growth(model: Decoder, lengths: list[int], threads: int) -> None:
    """The hybrid alone: time per token against 4K, and peak memory above the weights."""
    columns = [
        "tokens",
        "microseconds a token",
        "against the first",
        "at equal efficiency",
        "peak memory above weights",
    ]
    report = Report("Prefill of the hybrid by length", columns, threads)
    first: float | None = None
    for length in lengths:
        runs = [measured_prefill(model, length) for _ in range(2)]
        time = min(time for time, _ in runs) / length
        peak = max(peak for _, peak in runs)
        first = time if first is None else first
        flops = prefill_flops(model.config, length) / length
        bound = flops / (prefill_flops(model.config, lengths[0]) / lengths[0])
        report.row(
            f"{length:,}",
            f"{time * 1e6:.0f}",
            f"{time / first:.2f}x",
            f"{bound:.2f}x",
            f"{peak / 1e6:,.0f} MB",
        )
    report.print()


def main() -> None:
    """Print the tables, or the peak memory of one prefill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 16_384])
    parser.add_argument("--growth", type=int, nargs="+", default=[4096, 16_384, 65_536, 131_072])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--memory",
        type=int,
        nargs="?",
        const=131_072,
        metavar="TOKENS",
        help="print nothing but the peak memory of the hybrid's prefill above its weights (131,072 tokens by default)",
    )
    options = parser.parse_args()
    model = fulmen_hybrid()
    if options.memory:
        torch.set_num_threads(options.threads)
        time, peak = measured_prefill(model, options.memory)
        print(f"{options.memory:,} tokens: {peak / 1e6:,.0f} MB above the weights, {time:.1f} s")
        return
    growth(model, options.growth, options.threads)
    crossover(model, options.lengths, options.threads)


if __name__ == "__main__":
    main()
