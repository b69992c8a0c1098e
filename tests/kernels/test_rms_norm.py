"""RMSNorm's own backward against torch's decomposition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fulmen.kernels import rms_norm


def inputs(tokens, width, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, width, dtype=dtype, generator=generator)
    weight = torch.rand(width, dtype=dtype, generator=generator) + 0.5
    return [x.requires_grad_(), weight.requires_grad_()], torch.randn(tokens, width, dtype=dtype, generator=generator)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(1, 33), st.sampled_from([1e-6, 1e-2]), st.integers(0, 1000))
def test_values_and_gradients_equal_torchs(tokens, width, eps, seed):
    leaves, d_out = inputs(tokens, width, seed)
    results = []
    for form in (rms_norm, lambda x, weight, eps: functional.rms_norm(x, weight.shape, weight, eps)):
        out = form(*leaves, eps)
        results.append((out, *torch.autograd.grad(out, leaves, d_out)))
    with torch.no_grad():
        results[0] += (rms_norm(*leaves, eps),)
    results[1] += (results[1][0],)
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_gradients_by_finite_differences():
    leaves, _ = inputs(3, 5, 0)
    torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, 1e-5), leaves)


def test_autocast_leaves_it_in_float32():
    leaves, d_out = inputs(7, 16, 1, torch.float32)
    expected = functional.rms_norm(leaves[0].double(), (16,), leaves[1].double(), 1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        out = rms_norm(*leaves, 1e-6)
    out.backward(d_out)
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-5)


def test_half_precision_is_differentiated_by_torch():
    leaves, d_out = inputs(7, 16, 2, torch.bfloat16)
    grads = [
        torch.autograd.grad(form, leaves, d_out)
        for form in (
            rms_norm(*leaves, 1e-6),
            functional.rms_norm(leaves[0], (16,), leaves[1], 1e-6),
        )
    ]
    for actual, expected in zip(*grads, strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_tiny_and_huge_rows_stay_finite(scale):
    leaves, d_out = inputs(4, 8, 3, torch.float32)
    x = (leaves[0].detach() * scale).requires_grad_()
    out = rms_norm(x, leaves[1], 1e-6)
    out.backward(d_out)
    assert out.isfinite().all()
    assert x.grad.isfinite().all()
