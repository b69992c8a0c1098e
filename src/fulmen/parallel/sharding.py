"""Fully sharded data parallelism (FSDP2) around a finished model: each process keeps a part of every weight.

A layer's weights are gathered when its forward begins and freed when it ends; gradients are summed over the processes
and scattered. The model knows nothing of it.
"""

from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from fulmen.model.decoder import Decoder
from fulmen.parallel.ranks import Ranks


def shard(root: nn.Module, layers: Iterable[nn.Module], ranks: Ranks) -> None:
    """Shard each layer by itself and what is left of `root` as one more group; in place.

    The same weights must be in all processes before. Gradients become sums over the processes, not means: losses are
    divided by the whole step's total already. A process alone is left as it is.
    """
    if ranks.world_size == 1:
        return
    mesh = init_device_mesh(ranks.device.type, (ranks.world_size,))
    for module in (*layers, root):
        fully_shard(module, mesh=mesh)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no premultiplied sum


@torch.no_grad()
def gather(decoder: Decoder, ranks: Ranks) -> Decoder:
    """The whole model on the CPU of the first process, for saving; elsewhere its weights are never filled.

    A decoder that isn't sharded is returned itself.
    """
    if ranks.world_size == 1:
        return decoder
    whole = Decoder(decoder.config, dtype=decoder.model.norm.weight.dtype, device="cpu" if ranks.first else "meta")
    for name, parameter in decoder.named_parameters():
        full = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        whole.get_parameter(name).copy_(full)
    return whole
