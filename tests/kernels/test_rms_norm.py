"""RMSNorm, native where the CPU can, against torch's in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fulmen.kernels import rms_norm


def inputs(tokens, width, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, width, dtype=dtype, generator=generator)
    weight = torch.rand(width, dtype=dtype, generator=generator) + 0.5
    return [x.requires_grad_(), weight.requires_grad_()], torch.randn(tokens, width, dtype=dtype, generator=generator)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 150), st.integers(1, 67), st.sampled_from([1e-6, 1e-2]), st.integers(0, 1000))
def test_values_and_gradients_equal_torchs_in_float64(tokens, width, eps, seed):
    leaves, d_out = inputs(tokens, width, seed, torch.float32)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    out = rms_norm(*leaves, eps)
    expected = functional.rms_norm(exact[0], (width,), exact[1], eps)
    gradients = torch.autograd.grad(out, leaves, d_out)
    expected_gradients = torch.autograd.grad(expected, exact, d_out.double())
    for actual, wanted in zip((out, *gradients), (expected, *expected_gradients), strict=True):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual.double(), wanted, rtol=2e-5, atol=2e-5)
    with torch.no_grad():
        assert torch.equal(rms_norm(*leaves, eps), out)


def test_threads_do_not_change_a_bit():
    leaves, d_out = inputs(300, 40, 4, torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out = rms_norm(*leaves, 1e-6)
            results.append((out, *torch.autograd.grad(out, leaves, d_out)))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        for actual, expected in zip(result, results[0], strict=True):
            assert torch.equal(actual, expected)


def test_strides_do_not_matter():
    (x, weight), d_out = inputs(9, 40, 5, torch.float32)
    with torch.no_grad():
        assert torch.equal(rms_norm(x.T.contiguous().T, weight, 1e-6), rms_norm(x, weight, 1e-6))
    spread = torch.autograd.grad(rms_norm(x, weight, 1e-6), (x, weight), d_out[:, :1].expand_as(d_out))
    whole = torch.autograd.grad(rms_norm(x, weight, 1e-6), (x, weight), d_out[:, :1].expand_as(d_out).contiguous())
    for actual, expected in zip(spread, whole, strict=True):
        assert torch.equal(actual, expected)


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


@pytest.mark.parametrize("shape", [(16,), (4, 5, 16), (2, 16)])
def test_any_shape_and_stride_of_weights(shape):
    generator = torch.Generator().manual_seed(6)
    x, weight = torch.randn(shape, generator=generator), torch.randn(16, 2, generator=generator)[:, 0]
    expected = functional.rms_norm(x.double(), (16,), weight.double(), 1e-6)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6).double(), expected, rtol=0, atol=1e-5)


def test_a_weight_of_another_width_is_refused():
    (x, weight), _ = inputs(3, 16, 7, torch.float32)
    with pytest.raises(RuntimeError, match="normalized_shape"):
        rms_norm(x, weight[:8], 1e-6)
