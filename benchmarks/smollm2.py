"""SmolLM2-135M-Instruct: Fulmen's engine against llama.cpp and transformers, prefill and decode, one run.

llama.cpp reads the Q4_1 file that the weights come from; we run the same weights in float32 and as int8, transformers
in float32. llama.cpp takes part when `llama-cpp-python` is installed (it compiles on installation).
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

import fulmen
from benchmarks.harness import Report, seconds
from benchmarks.models import NumberedVocabulary
from fulmen.catalog import resolve
from fulmen.engine.engine import Engine, EngineOptions
from fulmen.model.decoder import Decoder
from fulmen.trace import SamplingParams

Measure = Callable[[list[int], int], tuple[float, float]]
"""(prompt, steps) -> (seconds of prefill, median seconds of a decode step)."""


def fulmen_measure(model: Decoder) -> Measure:
    """The engine's steps."""
    vocabulary = NumberedVocabulary(model.config.vocab_size)

    def measure(prompt: list[int], steps: int) -> tuple[float, float]:
        engine = Engine(model, vocabulary, options=EngineOptions(prefix_store=False))
        engine.add(prompt, SamplingParams(temperature=0.0, max_tokens=steps + 4, ignore_eos=True))
        prefill = seconds(engine.step)
        return prefill, statistics.median(seconds(engine.step) for _ in range(steps))

    return measure


def transformers_measure(path: Path) -> Measure:
    """Forward passes with a cache, and an argmax."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    @torch.inference_mode()
    def measure(prompt: list[int], steps: int) -> tuple[float, float]:
        ids = torch.tensor([prompt])
        out = None

        def step() -> None:
            nonlocal ids, out
            cache = None if out is None else out.past_key_values
            out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            ids = out.logits[:, -1].argmax(-1, keepdim=True)

        prefill = seconds(step)
        return prefill, statistics.median(seconds(step) for _ in range(steps))

    return measure


def llama_measure(file: Path, threads: int) -> Measure:
    """llama.cpp's own evaluation of tokens, with a greedy choice."""
    from llama_cpp import Llama

    model = Llama(str(file), n_ctx=4096, n_batch=2048, n_threads=threads, n_threads_batch=threads, verbose=False)

    def measure(prompt: list[int], steps: int) -> tuple[float, float]:
        model.reset()
        prefill = seconds(lambda: model.eval(prompt))
        token = model.sample(temp=0.0)
        return prefill, statistics.median(seconds(lambda: model.eval([token])) for _ in range(steps))

    return measure


def main() -> None:
    """Print tokens per second of each, and our ratio to each peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, help="the Q4_1 file for llama.cpp; left out without it")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    columns = ["engine", "prefill tok/s", "decode tok/s", "fulmen int8: prefill", "decode"]
    report = Report(f"SmolLM2-135M, prompt of {options.prompt} tokens", columns, options.threads)
    path = resolve("smollm2-135m")
    sides: dict[str, Measure] = {
        "fulmen int8": fulmen_measure(fulmen.load(path, quantize="int8")),
        "fulmen float32": fulmen_measure(fulmen.load(path)),
        "transformers float32": transformers_measure(path),
    }
    if options.gguf is not None:
        sides["llama.cpp Q4_1"] = llama_measure(options.gguf, options.threads)
    prompt = torch.randint(1000, 40_000, (options.prompt,), generator=torch.Generator().manual_seed(0)).tolist()
    for measure in sides.values():
        measure(prompt, 2)
    rounds = [{name: measure(prompt, options.steps) for name, measure in sides.items()} for _ in range(options.rounds)]
    speed = {
        name: (
            options.prompt / statistics.median(r[name][0] for r in rounds),
            1 / statistics.median(r[name][1] for r in rounds),
        )
        for name in sides
    }
    best = speed["fulmen int8"]
    for name, (prefill, decode) in speed.items():
        ratios = f"{best[0] / prefill:.2f}x", f"{best[1] / decode:.2f}x"
        report.row(name, f"{prefill:,.0f}", f"{decode:.0f}", *ratios)
    report.print()


if __name__ == "__main__":
    main()
