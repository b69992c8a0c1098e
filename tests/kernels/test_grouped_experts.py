"""The experts sorted and multiplied in groups, against a loop over tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.kernels import grouped_experts, reference

HIDDEN, INNER = 6, 5


def inputs(tokens, experts, top_k, seed, dtype=torch.float64, inner=INNER):
    """x, expert_ids, weights, w13, w2; half of the experts are rarely chosen, so some are idle."""
    generator = torch.Generator().manual_seed(seed)
    popularity = torch.rand(tokens, experts, generator=generator) + (torch.arange(experts) % 2)
    return (
        torch.randn(tokens, HIDDEN, dtype=dtype, generator=generator),
        popularity.topk(top_k, dim=-1).indices,
        torch.rand(tokens, top_k, dtype=dtype, generator=generator),
        torch.randn(experts, 2 * inner, HIDDEN, dtype=dtype, generator=generator),
        torch.randn(experts, HIDDEN, inner, dtype=dtype, generator=generator),
    )


shapes = st.tuples(st.integers(0, 40), st.integers(1, 7), st.integers(1, 3)).filter(lambda shape: shape[2] <= shape[1])


@settings(max_examples=40, deadline=None)
@given(shapes.filter(lambda shape: shape[0]), st.integers(0, 1000))
def test_outputs_and_gradients_equal_the_loop(shape, seed):
    x, ids, *rest = inputs(*shape, seed)
    leaves = [tensor.requires_grad_() for tensor in (x, *rest)]
    d_out = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(seed))
    results = []
    for form in (grouped_experts, reference.grouped_experts):
        out = form(leaves[0], ids, *leaves[1:])
        results.append((out, *torch.autograd.grad(out, leaves, d_out, materialize_grads=True)))
    with torch.no_grad():
        results[0] += (grouped_experts(leaves[0], ids, *leaves[1:]),)
    results[1] += (results[1][0],)
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(
    shapes.filter(lambda shape: shape[0]),
    st.sampled_from([5, 16, 48]),  # 5 goes through torch, the others natively where there is a compiler
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.integers(0, 1000),
)
def test_gradients_in_lower_precision_err_by_rounding_alone(shape, inner, dtype, seed):
    exact = inputs(*shape, seed, inner=inner)
    d_out = torch.randn(exact[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    results = []
    x, ids, *rest = exact
    kinds = (dtype, torch.float32, dtype, dtype)
    rounded = [tensor.to(kind) for tensor, kind in zip((x, *rest), kinds, strict=True)]
    for form in (grouped_experts, reference.grouped_experts):
        exactly = form is reference.grouped_experts
        leaves = [(tensor.double() if exactly else tensor.clone()).requires_grad_() for tensor in rounded]
        out = form(leaves[0], ids, *leaves[1:])
        results.append(torch.autograd.grad(out, leaves, d_out.to(out.dtype), materialize_grads=True))
    for actual, expected in zip(*results, strict=True):
        assert (actual - expected).abs().max() <= 12 * torch.finfo(dtype).eps * max(1, expected.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_errs_by_rounding_alone(dtype):
    exact = inputs(50, 4, 2, 0)
    x, ids, weights, w13, w2 = (tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in exact)
    out = grouped_experts(x, ids, weights.float(), w13, w2)
    assert out.dtype == dtype
    expected = reference.grouped_experts(*exact)
    assert (out - expected).abs().max() <= 8 * torch.finfo(dtype).eps * expected.abs().max()


def test_rows_in_whole_blocks_change_nothing_but_rounding():
    """In bfloat16 each expert's rows are rounded up to blocks; 200 tokens are no multiple, and one expert is idle."""
    exact = inputs(200, 5, 2, 7)
    exact[1][exact[1] == 0] = 1
    x, ids, weights, w13, w2 = exact
    d_out = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(7))
    results = []
    for form, dtype in ((reference.grouped_experts, torch.float64), (grouped_experts, torch.bfloat16)):
        weights_dtype = torch.promote_types(dtype, torch.float32)
        leaves = [x.to(dtype), weights.to(weights_dtype), w13.to(dtype), w2.to(dtype)]
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        out = form(leaves[0], ids, *leaves[1:])
        results.append((out, *torch.autograd.grad(out, leaves, d_out.to(dtype))))
    for expected, actual in zip(*results, strict=True):
        assert (actual - expected).abs().max() <= 8 * torch.finfo(torch.bfloat16).eps * expected.abs().max()
    assert not results[1][3][0].any()  # w13 of the idle expert


def test_gradients_by_finite_differences():
    x, ids, *rest = inputs(4, 3, 2, 1)
    leaves = [tensor.requires_grad_() for tensor in (x, *rest)]
    torch.autograd.gradcheck(lambda x, w, w13, w2: grouped_experts(x, ids, w, w13, w2), leaves)


@pytest.mark.parametrize("frozen", range(4))
def test_a_frozen_input_changes_no_other_gradient(frozen):
    x, ids, *rest = inputs(20, 4, 2, 2)
    tensors = [x, *rest]
    results = []
    for form in (grouped_experts, reference.grouped_experts):
        leaves = [tensor.clone().requires_grad_(n != frozen) for n, tensor in enumerate(tensors)]
        form(leaves[0], ids, *leaves[1:]).sum().backward()
        results.append([leaf.grad for leaf in leaves])
    assert results[0][frozen] is None
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def test_no_tokens_and_one_expert_for_all():
    x, ids, *rest = inputs(0, 3, 2, 3)
    assert grouped_experts(x, ids, *rest).shape == (0, HIDDEN)
    x, ids, *rest = inputs(9, 3, 1, 4)
    ids[:] = 2
    torch.testing.assert_close(grouped_experts(x, ids, *rest), reference.grouped_experts(x, ids, *rest))


def test_an_unknown_expert_is_named():
    x, ids, *rest = inputs(5, 3, 2, 5)
    ids[2, 1] = 3
    with pytest.raises(ValueError, match="holds 3, but there are 3 experts"):
        grouped_experts(x, ids, *rest)


@pytest.mark.parametrize("inner", [5, 48])
@pytest.mark.parametrize("weights_dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_weights_of_any_precision_and_autocast_around_the_backward(inner, weights_dtype):
    x, ids, weights, w13, w2 = inputs(70, 3, 2, 8, torch.float32, inner=inner)
    leaves = [tensor.requires_grad_() for tensor in (x, weights.to(weights_dtype), w13, w2)]
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    expected = torch.autograd.grad(reference.grouped_experts(exact[0], ids, *exact[1:]).sum(), exact)
    with torch.autocast("cpu", torch.bfloat16):
        gradients = torch.autograd.grad(grouped_experts(leaves[0], ids, *leaves[1:]).sum(), leaves)
    for actual, wanted, leaf in zip(gradients, expected, leaves, strict=True):
        assert actual.dtype == leaf.dtype
        eps = max(torch.finfo(leaf.dtype).eps, torch.finfo(torch.float32).eps)
        assert (actual - wanted).abs().max() <= 12 * eps * wanted.abs().max()
