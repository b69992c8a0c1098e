"""The model as training sees it: packed tokens in, log-probabilities of the targets out.

Embedding, head and final norm belong to this module when it is sharded, so whatever uses their weights must run in
its forward: the head's weight is used by `token_logprobs` and never by the head's own forward.
"""

from collections.abc import Iterable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from fulmen.kernels import token_logprobs
from fulmen.model.cache import ForwardPass
from fulmen.model.decoder import Decoder
from fulmen.model.experts import RouterLoad
from fulmen.train.packing import PackedBatch
from fulmen.train.settings import Precision


class Scorer(nn.Module):
    """A decoder with its head applied to the trained positions alone.

    Example::

        logprobs, load = Scorer(model)(PackedBatch.pack(samples))  # float32 [N], RouterLoad or None
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, batch: PackedBatch) -> tuple[Tensor, RouterLoad | None]:
        """Log-probabilities float32 [N] of the targets, and the routers' load if the model has experts."""
        config = self.decoder.config
        load = None
        if any(layer.feed_forward == "experts" for layer in config.layers):
            hidden, load = self.decoder.forward_with_router(batch.tokens, batch.forward)
        else:
            hidden = self.decoder(batch.tokens, batch.forward)
        logprobs = token_logprobs(
            hidden.index_select(0, batch.indices),
            self.decoder.lm_head.weight,
            batch.targets,
            num_live_tokens=config.num_live_tokens,
        )
        return logprobs.clone(), load  # sharding wants outputs that own their memory, and these are views

    @property
    def layers(self) -> Iterable[nn.Module]:
        """The decoder's layers, in order."""
        return cast(Iterable[nn.Module], self.decoder.model.layers)


def set_layer_forwards(scorer: Scorer, *, precision: Precision, activation_checkpointing: bool) -> None:
    """Choose how the layers run from now on: in which precision, and whether the backward computes them again.

    With checkpointing only each layer's input is kept. The layers' routers report their load a second time then, into
    a list that nobody reads any more. Nothing in a layer is random, so no state of a random generator is kept.
    """
    for layer in scorer.layers:
        vars(layer).pop("forward", None)  # the class's own forward again
        if precision == "bfloat16":
            layer.forward = partial(_in_bfloat16, _PlainLayer(layer))
        if activation_checkpointing:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)


class _PlainLayer(nn.Module):
    """A layer by its class's own forward, without hooks, for `functional_call`."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, shared: ForwardPass) -> Tensor:
        return type(self.layer).forward(self.layer, x, shared)


def _in_bfloat16(plain: _PlainLayer, x: Tensor, shared: ForwardPass) -> Tensor:
    """Run a layer of float32 weights in bfloat16: x float32 [T, hidden] -> float32 [T, hidden].

    The weights are rounded on the way in and their gradients arrive, and accumulate, in float32. The router's gate
    isn't rounded: a rounded router picks other experts.
    """
    weights = {
        name: weight if name.endswith("block_sparse_moe.gate.weight") else weight.to(torch.bfloat16)
        for name, weight in plain.named_parameters()
    }
    return functional_call(plain, weights, (x.to(torch.bfloat16), shared)).to(x.dtype)
