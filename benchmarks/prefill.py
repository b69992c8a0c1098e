"""Prefill of the 118M hybrid: Fulmen's engine against transformers' MiniMaxForCausalLM, same weights, one run.

Our side is the whole engine: scheduling, chunks of 2,048 tokens, paged cache, one sampled token. The peer's is one
forward pass over the whole prompt with its cache, and logits of the last token only.
"""

import argparse

import torch

from benchmarks.harness import Report, paired, seconds
from benchmarks.models import SIZES, NumberedVocabulary, fulmen_hybrid, prefill_flops, transformers_hybrid
from fulmen.engine.engine import Engine, EngineOptions
from fulmen.trace import SamplingParams


def main() -> None:
    """Print tokens per second of both, their ratio, and the fraction of GEMM peak, for each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 16_384, 65_536])
    parser.add_argument("--repeats", type=int, default=5, help="pairs per length; long lengths take fewer")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "int8"], default="float32",
        help="of both sides; with int8 weights of ours, the peer's are float32",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    columns = ["tokens", "fulmen tok/s", "transformers tok/s", "ratio", "of GEMM peak", "peer's"]
    quantize = "int8" if options.dtype == "int8" else None
    dtype = torch.float32 if quantize else getattr(torch, options.dtype)
    report = Report(f"Prefill, 118M hybrid, {options.dtype}", columns, options.threads, dtype)
    model, peer = fulmen_hybrid(quantize, dtype), transformers_hybrid().to(dtype)
    vocabulary = NumberedVocabulary(SIZES["vocab_size"])
    for length in options.lengths:
        engine = Engine(model, vocabulary, options=EngineOptions(max_context=length + 64, prefix_store=False))
        prompt = torch.randint(0, SIZES["vocab_size"], (length,), generator=torch.Generator().manual_seed(length))
        ids, batch = prompt.tolist(), prompt[None]

        def ours(engine: Engine = engine, ids: list[int] = ids) -> float:
            return seconds(lambda: engine.generate([ids], SamplingParams(temperature=0.0, max_tokens=1)))

        @torch.inference_mode()
        def theirs(batch: torch.Tensor = batch) -> float:
            return seconds(lambda: peer(batch, use_cache=True, logits_to_keep=1))

        mine, other = paired(ours, theirs, max(1, min(options.repeats, 131_072 // length)))
        peak = prefill_flops(model.config, length) / report.limits.gemm / 1e9
        report.row(
            f"{length:,}",
            f"{length / mine:,.0f}",
            f"{length / other:,.0f}",
            f"{other / mine:.2f}x",
            f"{peak / mine:.0%}",
            f"{peak / other:.0%}",
        )
    report.print()


if __name__ == "__main__":
    main()
