"""Saved contexts: reopened in another engine, refused by another model, and never half written."""

import pytest
import torch
from tiny_engine import prompts_of

from fulmen.engine.engine import Engine, EngineOptions
from fulmen.model.decoder import Decoder
from fulmen.trace import SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)


@pytest.mark.parametrize("kind", ["hybrid", "softmax", "lightning"])
@pytest.mark.parametrize("length", [1, 8, 37])
def test_a_reopened_context_is_not_computed_again(make_engine, oracle, tmp_path, kind, length) -> None:
    path, (prompt, more) = tmp_path / "context.safetensors", prompts_of(length, 5)
    make_engine(kind, page_size=8).save_context(path, prompt)
    engine = make_engine(kind, page_size=4)
    assert engine.load_context(path) == tuple(prompt)
    ((completion,),) = engine.generate([prompt + more], GREEDY)
    assert completion.cached_tokens == length
    assert completion.token_ids == oracle(kind, prompt + more, 8)


def test_loading_twice_keeps_one_copy(make_engine, tmp_path) -> None:
    path, engine = tmp_path / "context.safetensors", make_engine()
    make_engine().save_context(path, prompts_of(20)[0])
    free = [(engine.load_context(path), engine.memory.pages.num_free)[1] for _ in range(2)]
    assert free[0] == free[1]


def test_another_models_context_is_refused(make_engine, models, letters, tmp_path) -> None:
    path = tmp_path / "context.safetensors"
    make_engine().save_context(path, prompts_of(20)[0])
    other = Decoder(models["hybrid"].config).initialize(seed=1).requires_grad_(False)
    with pytest.raises(ValueError, match="another model"):
        Engine(other, letters, options=EngineOptions(cache_bytes=1 << 20)).load_context(path)


def test_a_damaged_file_is_named(make_engine, tmp_path) -> None:
    path = tmp_path / "context.safetensors"
    make_engine().save_context(path, prompts_of(20)[0])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"context\.safetensors is damaged"):
        make_engine().load_context(path)


def test_a_failed_write_leaves_the_old_file(make_engine, tmp_path, monkeypatch) -> None:
    path, (first, second) = tmp_path / "context.safetensors", prompts_of(20, 21)
    make_engine().save_context(path, first)

    def full_disk(*args, **kwargs) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("fulmen.engine.contexts.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        make_engine().save_context(path, second)
    assert make_engine().load_context(path) == tuple(first)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_file_that_can_not_be_written_is_an_os_error(make_engine, tmp_path) -> None:
    with pytest.raises(OSError, match=r"nowhere/context\.safetensors could not be written"):
        make_engine().save_context(tmp_path / "nowhere" / "context.safetensors", [1, 2])


def test_an_engine_without_a_prefix_store_says_why_it_cannot_save(make_engine, tmp_path) -> None:
    with pytest.raises(ValueError, match="prefix store"):
        make_engine(prefix_store=False).save_context(tmp_path / "x", [1])


def test_a_bfloat16_model_keeps_its_context_exactly(models, letters, tmp_path) -> None:
    model = Decoder(models["hybrid"].config, dtype=torch.bfloat16).initialize(seed=0).requires_grad_(False)
    options = EngineOptions(cache_bytes=1 << 20, page_size=8)
    path, (prompt,) = tmp_path / "context.safetensors", prompts_of(21)
    first, second = (Engine(model, letters, options=options) for _ in range(2))
    first.save_context(path, prompt)
    second.load_context(path)
    assert first.generate([[*prompt, 5]], GREEDY) == second.generate([[*prompt, 5]], GREEDY)
