"""The model as training sees it: packed tokens in, log-probabilities of the targets out.

Embedding, head and final norm belong to this module when it is sharded, so whatever uses their weights must run in
its forward: the head's weight is used by `token_logprobs` and never by the head's own forward.
"""

from collections.abc import Iterable
from functools import partial
from typing import cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fulmen.kernels import token_logprobs
from fulmen.model.decoder import Decoder
from fulmen.model.experts import RouterLoad
from fulmen.train.packing import PackedBatch


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


def set_activation_checkpointing(scorer: Scorer, enabled: bool) -> None:
    """Keep only each layer's input for the backward, which computes the layer again; or undo that.

    The layers' routers report their load into a list a second time then; nobody reads it any more. Nothing in a layer
    is random, so no state of a random generator is kept.
    """
    for layer in scorer.layers:
        vars(layer).pop("forward", None)  # the class's own forward again
        if enabled:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
