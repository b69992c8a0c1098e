"""The model as training sees it: packed tokens in, log-probabilities of the targets out.

Embedding, head and final norm belong to this module when it is sharded, so whatever uses their weights must run in
its forward: the head's weight is used by `token_logprobs` and never by the head's own forward.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
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
        self.head_gradient_dtype: torch.dtype | None = None
        """Of the products of the head's backward, None for float32; its forward is always in float32."""

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
            gradient_dtype=self.head_gradient_dtype,
        )
        return logprobs.clone(), load  # sharding wants outputs that own their memory, and these are views

    @property
    def layers(self) -> Iterable[nn.Module]:
        """The decoder's layers, in order."""
        return cast(Iterable[nn.Module], self.decoder.model.layers)


def set_forwards(scorer: Scorer, *, precision: Precision, activation_checkpointing: bool) -> None:
    """Choose how the layers run from now on: in which precision, and whether the backward computes them again.

    In bfloat16 the head's backward multiplies in bfloat16 as well.

    With checkpointing only each layer's input is kept. The layers' routers report their load a second time then, into
    a list that nobody reads any more. Nothing in a layer is random, so no state of a random generator is kept.
    """
    scorer.head_gradient_dtype = torch.bfloat16 if precision == "bfloat16" else None
    for layer in scorer.layers:
        vars(layer).pop("forward", None)  # the class's own forward again
        if precision == "bfloat16":
            layer.forward = partial(_in_bfloat16, layer.forward)
        if activation_checkpointing:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)


def _in_bfloat16(forward: Callable[[Tensor, ForwardPass], Tensor], x: Tensor, shared: ForwardPass) -> Tensor:
    """Run a layer with its products in bfloat16; the residual, norms, states and the router stay in float32."""
    with torch.autocast(x.device.type, torch.bfloat16):
        return forward(x, shared)
