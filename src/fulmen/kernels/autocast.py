"""Kernels say themselves in which precision they compute."""

from collections.abc import Callable
from functools import wraps
from itertools import chain
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """The function, computing in what it says whatever autocast does around it: around its call, or a backward's."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        kind = next(value.device.type for value in chain(args, kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(kind, enabled=False):
            return function(*args, **kwargs)

    return run
