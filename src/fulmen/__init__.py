"""Fulmen: an open, complete MiniMax-M1, from kernels to agents.

`fulmen.load` is the way to a model; everything else is imported from its part, for example `fulmen.engine.engine`.
Importing the package is cheap: torch is imported when a model is loaded.
"""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from fulmen.model.decoder import Decoder

__version__ = version("fulmen")
__all__ = ["load", "__version__"]


def load(
    path_or_name: str | Path,
    *,
    dtype: "torch.dtype | None" = None,
    device: "torch.device | str | None" = None,
    quantize: Literal["int8"] | None = None,
) -> "Decoder":
    """Load a checkpoint folder, or a model by its name, for inference.

    Args:
        path_or_name: a folder with `config.json` and safetensors, or a name of `fulmen.catalog.MODELS`.
        dtype: of the weights; by default float32 on a CPU and bfloat16 on a GPU.
        device: by default a GPU if there is one.
        quantize: "int8" keeps projections, experts and head as 8-bit integers with a scale for each row.

    Returns:
        A `Decoder`; `model.logits(token_ids)` takes int64 [T] or [B, T] and returns float32 [..., vocab].

    Raises:
        ValueError: no such model, or the checkpoint is damaged; the message names the file.
    """
    import torch

    from fulmen.catalog import resolve
    from fulmen.model.quantize import quantize_
    from fulmen.model.weights import load_checkpoint

    folder = resolve(path_or_name)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    default = torch.bfloat16 if target.type == "cuda" else torch.float32
    model = load_checkpoint(folder, dtype=dtype or default, device=target)
    return model if quantize is None else quantize_(model, quantize)
