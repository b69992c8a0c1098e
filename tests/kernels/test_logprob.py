"""Chunked log-probabilities against a softmax over all logits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.kernels import logprob, reference, token_logprobs


def inputs(tokens, seed, dtype=torch.float64, vocabulary=23, live=20):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, 6, dtype=dtype, generator=generator)
    head = torch.randn(vocabulary, 6, dtype=dtype, generator=generator)
    return hidden, head, torch.randint(0, live, (tokens,), generator=generator)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 31), st.sampled_from([None, 20]), st.integers(0, 3), st.integers(0, 1000))
def test_values_and_gradients_equal_the_softmax(tokens, chunk, live, kept_chunks, seed):
    hidden, head, targets = inputs(tokens, seed)
    leaves = [hidden.requires_grad_(), head.requires_grad_()]
    grad = torch.randn(tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logprob, "KEPT_ELEMENTS", kept_chunks * chunk * (live or 23))
        for form in (token_logprobs, reference.token_logprobs):
            values = form(*leaves, targets, num_live_tokens=live, chunk=chunk)
            results.append((values, *torch.autograd.grad(values, leaves, grad)))
    with torch.no_grad():
        results[0] += (token_logprobs(*leaves, targets, num_live_tokens=live, chunk=chunk),)
    results[1] += (results[1][0],)
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def test_padding_of_the_vocabulary_takes_no_part():
    hidden, head, targets = inputs(5, 0)
    clean = token_logprobs(hidden, head, targets, num_live_tokens=20)
    head[20:] = float("nan")
    head.requires_grad_()
    values = token_logprobs(hidden, head, targets, num_live_tokens=20)
    values.sum().backward()
    assert torch.equal(values, clean)
    assert torch.equal(head.grad[20:], torch.zeros(3, 6, dtype=torch.float64))


def test_half_precision_is_scored_in_float32():
    hidden, head, targets = inputs(9, 1)
    hidden, head = hidden.bfloat16().requires_grad_(), head.bfloat16().requires_grad_()
    values = token_logprobs(hidden, head, targets)
    expected = reference.token_logprobs(hidden.double(), head.double(), targets)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=1e-5)
    values.sum().backward()
    assert hidden.grad.dtype == head.grad.dtype == torch.bfloat16


def test_a_gradient_in_bfloat16_errs_by_rounding_and_leaves_the_values_alone():
    hidden, head, targets = inputs(40, 4, torch.float32)
    leaves = [hidden.requires_grad_(), head.requires_grad_()]
    exact, rounded = (
        token_logprobs(*leaves, targets, chunk=7, gradient_dtype=dtype) for dtype in (None, torch.bfloat16)
    )
    assert torch.equal(exact, rounded)
    wanted, found = (torch.autograd.grad(values.sum(), leaves) for values in (exact, rounded))
    for expected, actual in zip(wanted, found, strict=True):
        assert actual.dtype == torch.float32
        assert not torch.equal(actual, expected)
        assert (actual - expected).abs().max() <= 4 * torch.finfo(torch.bfloat16).eps * expected.abs().max()


def test_large_logits_do_not_overflow():
    """Logits 0 and 10,000: log-probabilities -10,000 and 0."""
    hidden, head = torch.ones(2, 1), torch.tensor([[0.0], [10_000.0]])
    assert token_logprobs(hidden, head, torch.tensor([0, 1])).tolist() == [-10_000, 0]


def test_uniform_logits_by_hand():
    values = token_logprobs(torch.zeros(3, 4), torch.ones(7, 4), torch.tensor([0, 3, 4]), num_live_tokens=5)
    assert values.tolist() == pytest.approx([-math.log(5)] * 3)


@pytest.mark.parametrize("bad", [-1, 20])
def test_targets_outside_the_live_vocabulary_are_named(bad):
    hidden, head, targets = inputs(4, 2)
    targets[1] = bad
    with pytest.raises(ValueError, match=rf"{bad}.* live tokens 0\.\.19"):
        token_logprobs(hidden, head, targets, num_live_tokens=20)


def test_logits_of_all_tokens_never_exist_at_once(largest_tensor):
    hidden, head, targets = inputs(512, 3, torch.float32, vocabulary=1000, live=1000)
    with largest_tensor:
        token_logprobs(hidden, head, targets, chunk=32)
    assert largest_tensor.elements == 32 * 1000


def test_autocast_changes_nothing():
    hidden, head, targets = inputs(9, 5, torch.float32)
    leaves = [hidden.requires_grad_(), head.requires_grad_()]
    results = []
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            values = token_logprobs(*leaves, targets)
            results.append((values, *torch.autograd.grad(values.sum(), leaves)))
    for actual, expected in zip(*results, strict=True):
        assert torch.equal(actual, expected)
