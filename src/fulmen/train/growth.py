"""Growth in depth: a deeper model that computes what a shallower one does, to be trained further.

New layers stand between the old ones. They read the features that an old layer of their kind reads, and their outputs
begin at zero, so that the residual passes them unchanged (as in Net2Net, Chen et al. 2016). How fast a lightning layer
forgets follows from its place among all layers, so each old one goes where its decay changes least; that change, a few
percent, is all that is not exact.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import Tensor

from fulmen.config import LayerKind, ModelConfig, ResidualScale
from fulmen.model.decoder import Decoder, DecoderLayer
from fulmen.model.lightning import decay_factor
from fulmen.train.settings import StageSettings

_OUTPUTS = frozenset(
    {
        "self_attn.out_proj.weight", "self_attn.o_proj.weight", "block_sparse_moe.experts.w2", "mlp.w2.weight",
        "shared_mlp.w2.weight",
    }
)  # fmt: skip
"""Weights whose product is added to the residual."""


def grown_config(config: ModelConfig, num_layers: int) -> ModelConfig:
    """The config of the same model with its pattern of layers repeated; DeepNorm's alpha grows with the depth.

    Raises:
        ValueError: `num_layers` is not a whole multiple of the layers there are.
    """
    times, rest = divmod(num_layers, config.num_layers)
    if rest or times < 1:
        raise ValueError(
            f"num_layers is {num_layers}; a model of {config.num_layers} layers grows to a whole multiple of them"
        )
    ratio = _residual_growth(config, num_layers)

    def deeper(scale: ResidualScale) -> ResidualScale:
        return ResidualScale(alpha=scale.alpha * ratio, beta=scale.beta)

    return config.replace(
        layers=config.layers * times,
        lightning_residual=deeper(config.lightning_residual),
        softmax_residual=deeper(config.softmax_residual),
        feed_forward_residual=deeper(config.feed_forward_residual),
    )


def config_after(config: ModelConfig, stages: Iterable[StageSettings]) -> ModelConfig:
    """The config of a model that grew as the stages say.

    Raises:
        ValueError: a stage asks for what `grown_config` refuses; the message names it.
    """
    for stage in stages:
        if stage.num_layers is not None:
            try:
                config = grown_config(config, stage.num_layers)
            except ValueError as error:
                raise ValueError(f"stage {stage.name}: {error}") from error
    return config


@torch.no_grad()
def grow(decoder: Decoder, num_layers: int) -> Decoder:
    """The deeper model, on the device and in the dtype of `decoder`.

    Raises:
        ValueError: as `grown_config`.
    """
    config = decoder.config
    weight = decoder.model.norm.weight
    grown = Decoder(grown_config(config, num_layers), dtype=weight.dtype, device=weight.device)
    old = [layer for layer in decoder.model.layers if isinstance(layer, DecoderLayer)]
    places = old_places(config.layers, grown.config.layers)
    ratio = _residual_growth(config, num_layers)
    for place, layer in enumerate(grown.model.layers):
        if place in places:
            layer.load_state_dict(_scaled(old[places.index(place)], ratio))
        else:
            layer.load_state_dict(_silent(old[_lender(place, places, config.layers, grown.config.layers)]))
    grown.model.embed_tokens.load_state_dict(decoder.model.embed_tokens.state_dict())
    grown.model.norm.load_state_dict(decoder.model.norm.state_dict())
    grown.lm_head.load_state_dict(decoder.lm_head.state_dict())
    return grown


def old_places(old: Sequence[LayerKind], new: Sequence[LayerKind]) -> tuple[int, ...]:
    """Where the old layers stand among the new ones: in order, at their kind, with decays changed least in all.

    Example: the 8 layers of a hybrid stand at 0, 2, 4, 6, 9, 11, 13 and 15 of 16, where softmax layers are 7 and 15.
    """

    @cache
    def best(layer: int, first: int) -> tuple[float, tuple[int, ...]]:
        """The least change of the decays of the old layers from `layer` on, at places from `first` on."""
        if layer == len(old):
            return 0.0, ()
        options = []
        for place in range(first, len(new) - (len(old) - layer) + 1):
            if new[place] == old[layer]:
                change, following = best(layer + 1, place + 1)
                options.append((change + _decay_change(old, layer, new, place), (place, *following)))
        return min(options, default=(math.inf, ()))

    return best(0, 0)[1]


def _decay_change(old: Sequence[LayerKind], layer: int, new: Sequence[LayerKind], place: int) -> float:
    if old[layer].attention == "softmax":
        return 0.0
    return abs(math.log(decay_factor(place, len(new)) / decay_factor(layer, len(old))))


def _lender(place: int, places: Sequence[int], old: Sequence[LayerKind], new: Sequence[LayerKind]) -> int:
    """The old layer of a new one's kind that stands nearest to it."""
    return min((i for i in range(len(old)) if old[i] == new[place]), key=lambda i: abs(places[i] - place))


def _scaled(layer: DecoderLayer, ratio: float) -> dict[str, Tensor]:
    """A layer whose residual grew by a ratio: its outputs grow alike, and the norm that follows sees no difference."""
    return {name: weight * ratio if name in _OUTPUTS else weight for name, weight in layer.state_dict().items()}


def _silent(layer: DecoderLayer) -> dict[str, Tensor]:
    """A layer that reads what another reads and adds nothing.

    A norm that the residual passes scales nothing here; what it scales in the other moves into the weights after it.
    """
    state = {name: weight.clone() for name, weight in layer.state_dict().items()}
    for name, weight in state.items():
        if name in _OUTPUTS:
            weight.zero_()
        elif layer.postnorm and weight.dim() >= 2:
            weight *= state[f"{'input' if name.startswith('self_attn.') else 'post_attention'}_layernorm.weight"]
    if layer.postnorm:
        state["input_layernorm.weight"].fill_(1.0)
        state["post_attention_layernorm.weight"].fill_(1.0)
    return state


def _residual_growth(config: ModelConfig, num_layers: int) -> float:
    """DeepNorm's alpha is (2 * layers) ** 0.25 (Wang et al. 2022); without postnorm nothing evens the scales out."""
    return float((num_layers / config.num_layers) ** 0.25) if config.postnorm else 1.0
