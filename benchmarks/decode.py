"""Decode of the 118M hybrid: Fulmen's engine against transformers' MiniMaxForCausalLM, same weights, one run.

Both decode greedily after prompts of the same length, one token a sequence and step. Ours is the whole engine's step
(schedule, run, sample, commit), in float32 and with int8 weights; the peer's is a forward pass with its cache and an
argmax. The limit is reading every weight of the step once; at batch 16 nearly all experts are needed.
"""

import argparse
import statistics

import torch

from benchmarks.harness import Report, seconds
from benchmarks.models import SIZES, NumberedVocabulary, fulmen_hybrid, transformers_hybrid
from fulmen.engine.engine import Engine, EngineOptions
from fulmen.model.decoder import Decoder
from fulmen.trace import SamplingParams


def step_bytes(model: Decoder, batch: int) -> int:
    """Bytes of weights that a step of `batch` tokens must read if its experts are all different, head included."""
    config, total = model.config, 0
    for name, tensor in model.state_dict().items():
        if "embed_tokens" in name:
            continue
        size = tensor.numel() * tensor.element_size()
        if ".experts." in name:
            size = size * min(batch * config.experts_per_token, config.num_experts) // config.num_experts
        total += size
    return total


def fulmen_step(model: Decoder, prompts: list[list[int]], steps: int) -> float:
    """Median seconds of an engine step that decodes one token for each prompt."""
    vocabulary = NumberedVocabulary(SIZES["vocab_size"])
    engine = Engine(model, vocabulary, options=EngineOptions(max_context=1 << 17, prefix_store=False))
    params = SamplingParams(temperature=0.0, max_tokens=steps + 8, ignore_eos=True)
    for prompt in prompts:
        engine.add(prompt, params)
    started: set[int] = set()
    while len(started) < len(prompts):
        started |= {request for request, _ in engine.step()}
    times = [seconds(engine.step) for _ in range(steps)]
    return statistics.median(times)


@torch.inference_mode()
def transformers_step(prompts: list[list[int]], steps: int) -> float:
    """Median seconds of a cached forward pass of transformers with an argmax for each prompt."""
    peer = transformers_hybrid()
    ids = torch.tensor(prompts)
    out = peer(ids, use_cache=True, logits_to_keep=1)
    times, position = [], ids.shape[1]
    for _ in range(steps):
        token, cache = out.logits[:, -1].argmax(-1, keepdim=True), out.past_key_values

        def step(token: torch.Tensor = token, cache: object = cache, position: int = position) -> None:
            nonlocal out
            where = torch.full_like(token, position)
            out = peer(token, past_key_values=cache, position_ids=where, use_cache=True, logits_to_keep=1)

        times.append(seconds(step))
        position += 1
    return statistics.median(times)


def main() -> None:
    """Print milliseconds a step of both, their ratio, and the fraction of memory bandwidth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--context", type=int, default=128, help="tokens of each prompt")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3, help="how often the sides are measured in turn")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    columns = ["batch", "weights", "fulmen ms", "transformers ms", "ratio", "of bandwidth", "peer's"]
    title = f"Decode after {options.context} tokens, 118M hybrid"
    report = Report(title, columns, options.threads)
    models = {"float32": fulmen_hybrid(), "int8": fulmen_hybrid("int8")}
    for batch in options.batches:
        generator = torch.Generator().manual_seed(batch)
        prompts = torch.randint(0, SIZES["vocab_size"], (batch, options.context), generator=generator).tolist()
        rounds = [
            {
                "peer": transformers_step(prompts, options.steps),
                **{name: fulmen_step(model, prompts, options.steps) for name, model in models.items()},
            }
            for _ in range(options.rounds)
        ]
        median = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
        limit = {name: step_bytes(model, batch) / report.limits.bandwidth / 1e9 for name, model in models.items()}
        for name in models:
            report.row(
                str(batch),
                name,
                f"{median[name] * 1e3:.2f}",
                f"{median['peer'] * 1e3:.2f}",
                f"{median['peer'] / median[name]:.2f}x",
                f"{limit[name] / median[name]:.0%}",
                f"{limit['float32'] / median['peer']:.0%}",
            )
    report.print()


if __name__ == "__main__":
    main()
