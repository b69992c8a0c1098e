"""One library per process: built and bound at the first question, or a reason why not."""

import ctypes
import logging
import os
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fulmen.kernels.native.abi import bind
from fulmen.kernels.native.build import BuildError, library

_TYPES = (torch.float32, torch.bfloat16)
_WIDTH_STEP = 16
"""Whole vectors, whatever the CPU."""

_log = logging.getLogger(__name__)
_lock = threading.Lock()


@dataclass(frozen=True)
class _Loaded:
    functions: Any  # the ctypes library, or None
    reason: str | None  # why there is none


_loaded: _Loaded | None = None


def _load() -> _Loaded:
    global _loaded
    with _lock:
        if _loaded is None:
            try:
                _loaded = _Loaded(bind(str(library())), None)
            except (BuildError, OSError) as error:  # OSError: the loader refuses the file
                _log.warning("native kernels are off, torch runs instead: %s", error)
                _loaded = _Loaded(None, str(error))
        return _loaded


def available() -> bool:
    """Whether native kernels run here; the first call compiles them, which takes about ten seconds."""
    return _load().reason is None


def unavailable_reason() -> str | None:
    """Why native kernels don't run here and what to install, or None if they do."""
    return _load().reason


def takes(x: Tensor, width: int) -> bool:
    """Whether kernels for longer passes run here and take x in rows of `width`: float32 or bfloat16, on the CPU."""
    return x.device.type == "cpu" and x.dtype in _TYPES and width % _WIDTH_STEP == 0 and available()


def functions() -> Any:
    """The bound C functions. Raises RuntimeError with the reason if there are none."""
    loaded = _load()
    if loaded.reason is not None:
        raise RuntimeError(f"native kernels are not available: {loaded.reason}")
    return loaded.functions


@cache
def openmp() -> int | None:
    """Where the OpenMP that torch runs on starts its threads; None if torch has none that is known here.

    After an operation of torch they spin on their cores for a while, and threads of another pool would wait for them.
    """
    for name in ("libgomp.so.1", "libiomp5.so"):
        try:
            library = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
            return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None
