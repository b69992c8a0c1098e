"""A dense Llama as a hybrid: which layers change, and what each new weight starts from.

Softmax layers that become lightning attention take their projections along and learn the rest by distillation; a dense
feed-forward becomes experts that are all copies of it (sparse upcycling, Komatsuzaki et al., 2022), which changes
nothing until training tells them apart. What the new weights start from:

- `qkv_proj`: q_proj, k_proj and v_proj, head by head; a grouped key or value is repeated for each of its query heads.
- `output_gate`: 0, so that every gate is 1/2; `norm`: 2, so that gate times norm is 1; `out_proj`: o_proj.
- `experts.w13`, `experts.w2`: the dense feed-forward, in every expert.
- the router: small and random; while the experts are equal, it is of no consequence which ones a token meets.

All else is the teacher's. The slopes are the architecture's. Lightning attention has no rotary embedding, passes q, k
and v through SiLU and divides by no sum: its output differs from softmax attention's until `calibration`, which
measures on a text what better start these weights can have, and `distillation`.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from fulmen.config import LayerKind, ModelConfig
from fulmen.model.attention import SoftmaxAttention
from fulmen.model.cache import ForwardPass
from fulmen.model.decoder import Decoder, DecoderLayer
from fulmen.model.experts import GatedFeedForward, SparseExperts
from fulmen.model.lightning import LightningAttention


def hybrid_config(
    teacher: ModelConfig,
    *,
    softmax_every: int = 8,
    keep_softmax: Collection[int] | None = None,
    num_experts: int = 0,
    experts_per_token: int = 0,
) -> ModelConfig:
    """The teacher's config with lightning attention everywhere but in `keep_softmax`, and with experts if wanted.

    Without `keep_softmax`, every `softmax_every`-th layer keeps softmax attention, as in MiniMax-M1. With `num_experts`
    every feed-forward becomes that many experts, of which each token passes `experts_per_token`.

    Raises:
        ValueError: the teacher is no dense softmax decoder, or a number is out of range.
    """
    if teacher.lightning_layers:
        raise ValueError(f"layers {list(teacher.lightning_layers)} are lightning attention already: this is a hybrid")
    if any(kind.feed_forward == "experts" for kind in teacher.layers):
        raise ValueError("the model has experts already; only a dense one can be converted")
    if teacher.qkv_bias:
        raise ValueError("the model has biases on q, k and v (Qwen2), which lightning attention has no place for")
    if softmax_every < 1:
        raise ValueError(f"softmax_every is {softmax_every}; it must be at least 1")
    layers = range(teacher.num_layers)
    kept = [i for i in layers if (i + 1) % softmax_every == 0] if keep_softmax is None else keep_softmax
    outside = sorted(set(kept) - set(layers))
    if outside:
        raise ValueError(f"keep_softmax names layers {outside}; the model has layers 0..{layers[-1]}")
    if len(set(kept)) == teacher.num_layers and not num_experts:
        raise ValueError("every layer keeps softmax attention and no experts are asked for: nothing would change")
    if (num_experts or experts_per_token) and not 0 < experts_per_token <= num_experts:
        raise ValueError(f"experts_per_token is {experts_per_token}; it must be within 1..{num_experts}, the experts")
    return teacher.replace(
        layers=tuple(
            LayerKind(
                attention="softmax" if i in kept else "lightning", feed_forward="experts" if num_experts else "dense"
            )
            for i in layers
        ),
        num_experts=num_experts,
        experts_per_token=experts_per_token,
    )


@torch.no_grad()
def student_from(teacher: Decoder, config: ModelConfig, *, expert_noise: float = 0.0, seed: int = 0) -> Decoder:
    """A decoder of `config` (from `hybrid_config`) with the teacher's weights, as the table above says.

    `expert_noise` adds normal noise to each expert, relative to the standard deviation of its weights; without it the
    model with experts computes exactly what the dense one did. `seed` draws the routers and the noise.
    """
    embedding = teacher.model.embed_tokens.weight
    student = Decoder(config, dtype=embedding.dtype, device=embedding.device)
    given = dict(teacher.named_parameters())
    for name, parameter in student.named_parameters():
        if name in given:
            parameter.copy_(given[name])
    generator = torch.Generator(device=embedding.device).manual_seed(seed)
    for old, new in zip(decoder_layers(teacher), decoder_layers(student), strict=True):
        if isinstance(new.self_attn, LightningAttention):
            _carry_attention(cast(SoftmaxAttention, old.self_attn), new.self_attn)
        if new.sparse and not old.sparse:
            _upcycle(old.mlp, new.block_sparse_moe, config.initializer_range, expert_noise, generator)
    return student


def decoder_layers(model: Decoder) -> list[DecoderLayer]:
    """The layers of a decoder, with their type."""
    return [cast(DecoderLayer, layer) for layer in model.model.layers]


Watcher = Callable[[int, Tensor, ForwardPass, Tensor], None]
"""Called with (layer, attention's input [T, hidden], what the pass shares, attention's output [T, hidden])."""


@contextmanager
def watch_attention(model: Decoder, layers: Collection[int], seen: Watcher) -> Iterator[None]:
    """Call `seen` as the attention of each of `layers` is done; the output's memory is reused after the call."""

    def hook_of(layer: int) -> Callable[[Any, tuple[Tensor, ForwardPass], Tensor], None]:
        return lambda _module, args, out: seen(layer, *args, out)

    with ExitStack() as hooks:
        for i, layer in enumerate(decoder_layers(model)):
            if i in layers:
                hooks.enter_context(layer.self_attn.register_forward_hook(hook_of(i)))
        yield


def _carry_attention(old: SoftmaxAttention, new: LightningAttention) -> None:
    q, k, v = (_full_heads(p.weight, new.num_heads, new.head_dim) for p in (old.q_proj, old.k_proj, old.v_proj))
    new.qkv_proj.weight.copy_(torch.cat([q, k, v], dim=1).flatten(0, 1))
    new.output_gate.weight.zero_()
    new.norm.weight.fill_(2.0)
    new.out_proj.weight.copy_(old.o_proj.weight)


def _full_heads(weight: Tensor, num_heads: int, head_dim: int) -> Tensor:
    """Rows of a projection by query head, [H, D, hidden]: grouped heads repeated for all the queries they serve."""
    heads = weight.unflatten(0, (-1, head_dim))  # [H or Hkv, D, hidden]
    return heads.repeat_interleave(num_heads // len(heads), dim=0)


def _upcycle(
    old: GatedFeedForward, new: SparseExperts, router_range: float, noise: float, generator: torch.Generator
) -> None:
    new.gate.weight.normal_(std=router_range, generator=generator)
    for target, source in ((new.experts.w13, old.w13.weight), (new.experts.w2, old.w2.weight)):
        target.copy_(source.expand_as(target))
        if noise:
            target.add_(torch.empty_like(target).normal_(std=noise * float(source.std()), generator=generator))
