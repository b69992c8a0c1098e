"""Where each of our parameters lies in a published checkpoint: the one place that knows both sets of names.

Most tensors have the same name on both sides. We stack what the files keep apart: the experts of a layer, and the two
halves w1 and w3 of a gated feed-forward.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fulmen.config import ModelConfig

Index = tuple[int | slice, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor of the file and the part of our parameter that it fills.

    Example: `Piece("model.layers.3.block_sparse_moe.experts.5.w3.weight", (5, slice(9216, None)))`.
    """

    key: str
    index: Index = ()


def pieces(name: str, config: ModelConfig) -> Iterator[Piece]:
    """The tensors of a file that make up our parameter `name`, in any family."""
    width = config.intermediate_size
    if name.endswith("block_sparse_moe.experts.w13"):
        for expert in range(config.num_experts):
            base = f"{name.removesuffix('w13')}{expert}"
            yield Piece(f"{base}.w1.weight", (expert, slice(None, width)))
            yield Piece(f"{base}.w3.weight", (expert, slice(width, None)))
    elif name.endswith("block_sparse_moe.experts.w2"):
        for expert in range(config.num_experts):
            yield Piece(f"{name.removesuffix('w2')}{expert}.w2.weight", (expert,))
    elif name.endswith("mlp.w13.weight"):  # the dense feed-forward and the shared expert
        base = name.removesuffix("w13.weight")
        half = config.shared_intermediate_size if "shared_mlp" in name else width
        yield Piece(f"{base}gate_proj.weight", (slice(None, half),))
        yield Piece(f"{base}up_proj.weight", (slice(half, None),))
    elif name.endswith("mlp.w2.weight"):
        yield Piece(f"{name.removesuffix('w2.weight')}down_proj.weight")
    else:
        yield Piece(name)


def is_derived(key: str) -> bool:
    """Whether a tensor of the file holds what the config says already: decay tables that transformers saves along."""
    return key.endswith((".slope_rate", ".query_decay", ".key_decay", ".diagonal_decay", ".rotary_emb.inv_freq"))
