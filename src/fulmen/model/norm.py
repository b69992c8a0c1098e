"""The norm of all layers."""

from torch import Tensor, nn

from fulmen.kernels import rms_norm


class RMSNorm(nn.RMSNorm):
    """torch's module around our kernel, whose backward is faster on CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        """x [T, width] -> [T, width]."""
        assert self.eps is not None
        return rms_norm(x, self.weight, self.eps)
