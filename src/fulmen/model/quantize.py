"""Weight-only int8: a quarter of the bytes to read for each token, a scale for each output row.

A row of a weight w is kept as round(w / scale) with scale = max|w| / 127. Products read the integers where the CPU
multiplies bytes, and widen rows elsewhere (`kernels.int8`). Router gates, norms and the embedding stay as they are: a
rounded router picks other experts. A head that is tied to the embedding gets its own int8 copy.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from fulmen.kernels import int8_experts, int8_linear
from fulmen.model.decoder import Decoder
from fulmen.model.experts import Experts


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [..., rows, columns] and float32 scales [..., rows] of a weight [..., rows, columns]."""
    scale = weight.float().abs().amax(dim=-1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (weight.float() / scale[..., None]).round().to(torch.int8), scale


class Int8Linear(nn.Module):
    """A linear layer with an int8 weight [rows, columns] and a float32 scale [rows]."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = quantize_rows(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """x [..., columns] -> [..., rows] in x's dtype."""
        out = int8_linear(x.flatten(0, -2), self.weight, self.weight_scale).unflatten(0, x.shape[:-1])
        return out if self.bias is None else out + self.bias


class Int8Experts(nn.Module):
    """All experts of a layer: w13 [E, 2 F, hidden], w2 [E, hidden, F] in int8, scales [E, 2 F] and [E, hidden]."""

    w13: Tensor
    w13_scale: Tensor
    w2: Tensor
    w2_scale: Tensor

    def __init__(self, experts: Experts) -> None:
        super().__init__()
        for name in ("w13", "w2"):
            weight, scale = quantize_rows(getattr(experts, name).detach())
            self.register_buffer(name, weight)
            self.register_buffer(f"{name}_scale", scale)

    def forward(self, x: Tensor, expert_ids: Tensor, weights: Tensor) -> Tensor:
        """Like `Experts.forward`."""
        return int8_experts(x, expert_ids, weights, self.w13, self.w13_scale, self.w2, self.w2_scale)


def quantize_(model: Decoder, kind: Literal["int8"]) -> Decoder:
    """Replace projections, experts and head of a model by int8 in place, one module at a time; returns the model."""
    if kind != "int8":
        raise ValueError(f"quantize is {kind!r}; known is int8")
    for name, module in list(model.named_modules()):
        owner, _, attribute = name.rpartition(".")
        if isinstance(module, Experts):
            setattr(model.get_submodule(owner), attribute, Int8Experts(module))
        elif isinstance(module, nn.Linear) and attribute not in ("gate", "coefficient"):
            setattr(model.get_submodule(owner), attribute, Int8Linear(module))
    return model
