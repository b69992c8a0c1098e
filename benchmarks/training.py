"""Forward and backward of the 118M hybrid: Fulmen against transformers' MiniMaxForCausalLM, same weights, one run.

Both take 4 sequences of 1,024 tokens to the mean next-token cross-entropy and back to every weight's gradient.
"""

import argparse

import torch

from benchmarks.harness import Report, paired, seconds
from benchmarks.models import SIZES, active_parameters, fulmen_hybrid, transformers_hybrid
from fulmen.kernels import token_logprobs
from fulmen.model.cache import ForwardBatch


def main() -> None:
    """Print tokens per second of both, their ratio, and the fraction of GEMM peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    columns = ["batch", "fulmen tok/s", "transformers tok/s", "ratio", "of GEMM peak", "peer's", "losses"]
    report = Report("Forward and backward, 118M hybrid, float32", columns, options.threads)
    model, peer = fulmen_hybrid().requires_grad_(True).train(), transformers_hybrid().train()
    shape = (options.batch, options.length)
    tokens = torch.randint(0, SIZES["vocab_size"], shape, generator=torch.Generator().manual_seed(0))
    batch = ForwardBatch.pack([options.length] * options.batch)
    losses: dict[str, float] = {}

    def ours() -> None:
        hidden = model(tokens.flatten(), batch).view(*shape, -1)
        logprobs = token_logprobs(hidden[:, :-1].flatten(0, 1), model.lm_head.weight, tokens[:, 1:].flatten())
        loss = -logprobs.mean()
        loss.backward()
        model.zero_grad(set_to_none=True)
        losses["fulmen"] = loss.item()

    def theirs() -> None:
        loss = peer(tokens, labels=tokens).loss
        loss.backward()
        peer.zero_grad(set_to_none=True)
        losses["transformers"] = loss.item()

    mine, other = paired(lambda: seconds(ours), lambda: seconds(theirs), options.repeats)
    count = tokens.numel()
    head = SIZES["vocab_size"] * SIZES["hidden_size"]
    peak = 6.0 * (active_parameters(model.config) + head) * count / report.limits.gemm / 1e9
    report.row(
        f"{options.batch} x {options.length:,}",
        f"{count / mine:,.0f}",
        f"{count / other:,.0f}",
        f"{other / mine:.2f}x",
        f"{peak / mine:.0%}",
        f"{peak / other:.0%}",
        " / ".join(f"{loss:.4f}" for loss in losses.values()),
    )
    report.print()


if __name__ == "__main__":
    main()
