"""Tiny random models of every kind, and an oracle that has no cache."""

from collections.abc import Callable

import pytest
import torch
from tiny_engine import CONFIGS, Letters

from fulmen.engine.engine import Engine, EngineOptions
from fulmen.model.decoder import Decoder


@pytest.fixture(scope="session")
def letters() -> Letters:
    return Letters()


@pytest.fixture(scope="session")
def models() -> dict[str, Decoder]:
    return {name: Decoder(config).initialize(seed=0).requires_grad_(False) for name, config in CONFIGS.items()}


@pytest.fixture(scope="session")
def oracle(models) -> Callable[[str, list[int], int], tuple[int, ...]]:
    """Greedy continuation by whole forward passes: no cache, no batch."""
    known: dict[tuple, tuple[int, ...]] = {}

    def continuation(kind: str, prompt: list[int], count: int) -> tuple[int, ...]:
        key = (kind, tuple(prompt), count)
        if key not in known:
            tokens = list(prompt)
            with torch.inference_mode():
                for _ in range(count):
                    tokens.append(int(models[kind].logits(torch.tensor(tokens))[-1].argmax()))
            known[key] = tuple(tokens[len(prompt) :])
        return known[key]

    return continuation


@pytest.fixture
def make_engine(models, letters) -> Callable[..., Engine]:
    def make(kind: str = "hybrid", **options) -> Engine:
        defaults = {"page_size": 8, "cache_bytes": 1 << 21, "max_running": 4, "max_tokens_per_step": 16}
        return Engine(models[kind], letters, options=EngineOptions(**(defaults | options)))

    return make
