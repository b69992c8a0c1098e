"""The decoder agrees with itself: whole, in chunks, token by token, packed, and batched, for every kind of layer."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_decoders import CONFIGS, MINIMAX_LIKE, make, random_tokens, run_in_chunks

from fulmen.config import ModelConfig
from fulmen.model.cache import ForwardBatch, HybridCache
from fulmen.model.decoder import Decoder
from fulmen.model.experts import RouterLoad


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("length", [1, 63, 64, 65])
def test_chunks_and_single_tokens_agree_with_the_whole(config: ModelConfig, length: int) -> None:
    model, tokens = make(config), random_tokens(config, length)
    whole = model.logits(tokens)
    for chunks in ([length], [1] * length, [length // 2, length - length // 2] if length > 1 else [1]):
        torch.testing.assert_close(run_in_chunks(model, tokens, chunks), whole, atol=1e-4, rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, 99), max_size=6, unique=True))
def test_any_chunking_agrees_with_the_whole(cuts: list[int]) -> None:
    model, tokens = make(MINIMAX_LIKE), random_tokens(MINIMAX_LIKE, 100)
    edges = [0, *sorted(cuts), 100]
    chunks = [end - start for start, end in pairwise(edges)]
    torch.testing.assert_close(run_in_chunks(model, tokens, chunks), model.logits(tokens), atol=1e-4, rtol=1e-4)


def test_a_long_prompt_agrees_whole_and_in_chunks() -> None:
    model, tokens = make(MINIMAX_LIKE), random_tokens(MINIMAX_LIKE, 4097)
    whole = model.logits(tokens)
    for chunks in ([2048, 2048, 1], [1000, 1, 3096], [4033] + [1] * 64):
        torch.testing.assert_close(run_in_chunks(model, tokens, chunks), whole, atol=1e-4, rtol=1e-4)


def test_32_768_tokens_agree_whole_and_in_chunks() -> None:
    model, tokens = make(MINIMAX_LIKE), random_tokens(MINIMAX_LIKE, 32_768)
    torch.testing.assert_close(run_in_chunks(model, tokens, [2048] * 16), model.logits(tokens), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("length", [4097, 32_768])
def test_a_long_prompt_agrees_whole_in_chunks_and_token_by_token(length: int) -> None:
    model, tokens = make(MINIMAX_LIKE), random_tokens(MINIMAX_LIKE, length)
    whole = model.logits(tokens)
    for size in (4096, 1):
        chunks = [size] * (length // size) + [length % size] * (length % size > 0)
        torch.testing.assert_close(run_in_chunks(model, tokens, chunks), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_packed_sequences_do_not_see_each_other(config: ModelConfig) -> None:
    model, lengths = make(config), [5, 1, 66, 1, 17]
    sequences = [random_tokens(config, 90)[i : i + length] for i, length in enumerate(lengths)]
    packed = model.head(model(torch.cat(sequences), ForwardBatch.pack(lengths)))
    alone = torch.cat([model.logits(sequence) for sequence in sequences])
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


def test_mixed_prefill_and_decode_in_one_pass() -> None:
    model, (first, second) = make(MINIMAX_LIKE), random_tokens(MINIMAX_LIKE, 2, 30)
    cache = HybridCache(model.config, num_pages=8, num_slots=2, page_size=8)
    pages = [[0, 1, 2, 3], [4, 5, 6, 7]]
    model(first[:29], ForwardBatch.pack([29], slots=[0], pages=pages[:1]), cache)
    mixed = ForwardBatch.pack([1, 30], contexts=[29, 0], slots=[0, 1], pages=pages)
    logits = model.head(model(torch.cat([first[29:], second]), mixed, cache))
    whole = model.logits(torch.stack([first, second]))
    torch.testing.assert_close(logits[0], whole[0, 29], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits[1:], whole[1], atol=1e-4, rtol=1e-4)


def test_padded_vocabulary_is_masked() -> None:
    logits = make(MINIMAX_LIKE).logits(random_tokens(MINIMAX_LIKE, 3))
    assert torch.isneginf(logits[:, 57:]).all()
    assert torch.isfinite(logits[:, :57]).all()


def test_states_and_slopes_stay_float32_in_a_bfloat16_model() -> None:
    model = Decoder(MINIMAX_LIKE, dtype=torch.bfloat16)
    assert model.model.layers[0].self_attn.slopes.dtype == torch.float32
    assert model.model.layers[0].block_sparse_moe.gate.weight.dtype == torch.float32
    assert model.model.layers[0].self_attn.qkv_proj.weight.dtype == torch.bfloat16
    assert HybridCache(MINIMAX_LIKE, num_pages=1, num_slots=1, dtype=torch.bfloat16).states.dtype == torch.float32
    assert model.to(torch.bfloat16).model.layers[0].self_attn.slopes.dtype == torch.float32


def test_balancing_loss_is_k_for_an_even_router_and_reaches_the_gate() -> None:
    model = Decoder(MINIMAX_LIKE).initialize(seed=0)
    tokens = random_tokens(MINIMAX_LIKE, 64)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.block_sparse_moe.gate.weight.zero_()
    _, load = model.forward_with_router(tokens, ForwardBatch.pack([64]))
    assert load.balancing_loss().item() == pytest.approx(2.0)
    assert load.fraction.sum(-1).tolist() == pytest.approx([2.0] * 3)
    model.initialize(seed=0)
    model.forward_with_router(tokens, ForwardBatch.pack([64]))[1].balancing_loss().backward()
    assert model.model.layers[0].block_sparse_moe.gate.weight.grad.abs().sum() > 0


def test_layers_that_collapse_onto_experts_of_their_own_are_not_balanced() -> None:
    even = torch.full((2, 2), 0.5)
    apart = torch.eye(2)
    assert RouterLoad(probability=even, fraction=even).balancing_loss().item() == 1.0
    assert RouterLoad(probability=apart, fraction=apart).balancing_loss().item() == 2.0


def test_every_parameter_has_a_gradient() -> None:
    for config in CONFIGS.values():
        model = Decoder(config).initialize(seed=0)
        model.head(model(random_tokens(config, 40), ForwardBatch.pack([23, 17]))).exp().mean().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_a_dense_model_has_no_router() -> None:
    with pytest.raises(ValueError, match="no experts"):
        make(CONFIGS["dense"]).forward_with_router(torch.tensor([1]), ForwardBatch.pack([1]))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_autocast_rounds_products_and_nothing_else(config: ModelConfig) -> None:
    model, tokens = make(config).requires_grad_(True), random_tokens(config, 100)
    batch = ForwardBatch.pack([100])
    exact = model(tokens, batch)
    weights = [parameter for name, parameter in model.named_parameters() if "lm_head" not in name]
    wanted = torch.autograd.grad(exact.square().mean(), weights, allow_unused=True)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(tokens, batch)
    found = torch.autograd.grad(rounded.square().mean(), weights, allow_unused=True)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.08  # rounding may flip a close choice of experts
    for near, true in zip(found, wanted, strict=True):
        if true is not None and true.norm() > 1e-4:
            assert near.dtype == torch.float32
            assert torch.cosine_similarity(near.flatten(), true.flatten(), dim=0) > 0.95
