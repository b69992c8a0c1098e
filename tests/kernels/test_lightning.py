"""Lightning attention in chunks against the recurrence: outputs, final states, gradients, splits, memory."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.kernels import lightning, lightning_chunk, reference

HEADS, DIM = 3, 8
edge_lengths = st.sampled_from([0, 1, 2, 15, 16, 17, 63, 64, 65, 100, 127, 128, 129, 193])
packed_lengths = st.lists(edge_lengths, min_size=1, max_size=6).filter(any)
seeds = st.integers(0, 2**31 - 1)


@pytest.fixture(scope="module", autouse=True)
def small_spans():
    """Two chunks at a time, so that short sequences already cross spans."""
    before = lightning_chunk.SPAN_ELEMENTS
    lightning_chunk.SPAN_ELEMENTS = {"cpu": 2 * lightning_chunk.CHUNK * HEADS * DIM}
    yield
    lightning_chunk.SPAN_ELEMENTS = before


def inputs(lengths, seed, dtype=torch.float64, slopes=(1.0, 0.05, 1e-5)):
    """q, k, v as the model makes them (views of one tensor), slopes, state, cu_seqlens."""
    generator = torch.Generator().manual_seed(seed)
    packed = torch.randn(sum(lengths), HEADS, 3 * DIM, dtype=dtype, generator=generator)
    state = torch.randn(len(lengths), HEADS, DIM, DIM, dtype=dtype, generator=generator)
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0)
    return *packed.split(DIM, dim=-1), torch.tensor(slopes, dtype=dtype), state, cu_seqlens


def assert_close(actual, expected, tolerance):
    """Within `tolerance` of the largest expected magnitude."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    if expected.numel():
        assert (actual - expected).abs().max() <= tolerance * max(1, expected.abs().max())


@settings(max_examples=30, deadline=None)
@given(packed_lengths, seeds)
def test_outputs_states_and_gradients_equal_the_recurrence(lengths, seed):
    q, k, v, slopes, state, cu_seqlens = inputs(lengths, seed)
    leaves = [x.detach().clone().requires_grad_() for x in (q, k, v, state)]
    generator = torch.Generator().manual_seed(seed + 1)
    d_out, d_final = (torch.randn(x.shape, dtype=x.dtype, generator=generator) for x in (q, state))
    results = []
    for form in (lightning, reference.lightning):
        out, final = form(*leaves[:3], slopes, leaves[3], cu_seqlens)
        results.append((out, final, *torch.autograd.grad((out, final), leaves, (d_out, d_final))))
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected, 1e-10)


@settings(max_examples=20, deadline=None)
@given(packed_lengths, seeds)
def test_without_gradients_it_is_the_same_function(lengths, seed):
    arguments = inputs(lengths, seed)
    for actual, expected in zip(lightning(*arguments), reference.lightning(*arguments), strict=True):
        assert_close(actual, expected, 1e-10)


@settings(max_examples=15, deadline=None)
@given(packed_lengths, seeds)
def test_float32_errs_by_rounding_alone(lengths, seed):
    """Against the sum of magnitudes, which is what rounding errors scale with."""
    exact = inputs(lengths, seed)
    rounded = [x.float() if x.is_floating_point() else x for x in exact]
    scales = reference.lightning(*(x if x is exact[3] else x.abs() for x in exact))
    for actual, expected, scale in zip(lightning(*rounded), reference.lightning(*exact), scales, strict=True):
        assert actual.dtype == torch.float32
        assert ((actual - expected).abs() <= 1e-6 * scale + 1e-6).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.lists(st.integers(0, 300), max_size=4), seeds)
def test_any_split_continues_from_the_state(length, cuts, seed):
    q, k, v, slopes, state, _ = inputs([length], seed)
    whole, whole_final = lightning(q, k, v, slopes, state)
    parts = []
    for start, end in pairwise(sorted({0, length, *(min(cut, length) for cut in cuts)})):
        out, state = lightning(q[start:end], k[start:end], v[start:end], slopes, state)
        parts.append(out)
    assert_close(torch.cat(parts), whole, 1e-12)
    assert_close(state, whole_final, 1e-12)


def test_gradients_by_finite_differences():
    q, k, v, slopes, state, cu_seqlens = inputs([66, 3, 2], 0)
    leaves = [x[..., :2].detach().clone().requires_grad_() for x in (q, k, v, state[:, :, :2])]
    torch.autograd.gradcheck(lambda q, k, v, s: lightning(q, k, v, slopes, s, cu_seqlens), leaves, fast_mode=True)


def test_gradient_through_the_final_state_alone():
    q, k, v, slopes, state, cu_seqlens = inputs([70, 1], 1)
    k = k.detach().clone().requires_grad_()
    grads = [
        torch.autograd.grad(form(q, k, v, slopes, state, cu_seqlens)[1].square().sum(), k)[0]
        for form in (lightning, reference.lightning)
    ]
    assert_close(*grads, 1e-10)


@pytest.mark.parametrize("slope", [1e-5, 1e-3, 0.1, 1.0])
def test_long_sequences_reach_the_geometric_sum(slope):
    """With q = k = v = 1 and D = 1 the output is sum_(i < t) exp(-slope i), a number known in closed form."""
    length = 30_001
    ones = torch.ones(length, 1, 1)
    out, final = lightning(ones, ones, ones, torch.tensor([slope]))
    expected = -math.expm1(-slope * length) / -math.expm1(-slope)
    assert out.isfinite().all()
    assert out[-1].item() == pytest.approx(expected, rel=2e-5)
    assert final.item() == pytest.approx(expected, rel=2e-5)


def test_by_hand():
    """Two tokens, decay one half: S1 = 2 * 3, o1 = 1 * 6; S2 = 6 / 2 + 5 * 7, o2 = 4 * 38; then from state 10."""
    q, k, v = (torch.tensor(x, dtype=torch.float64).view(2, 1, 1) for x in ([1.0, 4.0], [2.0, 5.0], [3.0, 7.0]))
    slopes = torch.tensor([math.log(2)], dtype=torch.float64)
    for form in (lightning, reference.lightning):
        out, final = form(q, k, v, slopes)
        assert out.flatten().tolist() == pytest.approx([6, 152])
        assert final.item() == pytest.approx(38)
        assert form(q, k, v, slopes, torch.full((1, 1, 1, 1), 10.0).double())[1].item() == pytest.approx(40.5)


def test_a_given_state_is_left_alone_and_absent_means_zero():
    q, k, v, slopes, state, cu_seqlens = inputs([65, 1, 1, 0], 2)
    before = state.clone()
    _, final = lightning(q, k, v, slopes, state, cu_seqlens)
    assert torch.equal(state, before)
    assert final.data_ptr() != state.data_ptr()
    assert torch.equal(final[3], before[3])
    for actual, expected in zip(
        lightning(q, k, v, slopes, None, cu_seqlens),
        lightning(q, k, v, slopes, torch.zeros_like(state), cu_seqlens),
        strict=True,
    ):
        assert torch.equal(actual, expected)


def test_bfloat16_inputs_keep_a_float32_state():
    q, k, v, slopes, state, cu_seqlens = inputs([65, 1, 130], 3, torch.float32)
    q, k, v = (x.bfloat16() for x in (q, k, v))
    out, final = lightning(q, k, v, slopes, state, cu_seqlens)
    exact_out, exact_final = reference.lightning(q.float(), k.float(), v.float(), slopes, state, cu_seqlens)
    assert (out.dtype, final.dtype) == (torch.bfloat16, torch.float32)
    assert_close(final, exact_final, 1e-5)
    assert_close(out.float(), exact_out, 2**-8)


@pytest.mark.parametrize("bounds", [[0, 3], [1, 5], [0, 4, 2, 5]])
def test_bad_bounds_are_named(bounds):
    q, k, v, slopes, _, _ = inputs([5], 4)
    with pytest.raises(ValueError, match=r"cu_seqlens .* 5, got"):
        lightning(q, k, v, slopes, None, torch.tensor(bounds))


def test_memory_kept_for_the_backward_is_linear_in_length():
    kept = []
    for length in (1024, 4096):
        q, k, v = (torch.randn(length, 2, 64, requires_grad=True) for _ in range(3))
        storages = {}

        def pack(x, storages=storages):
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            lightning(q, k, v, torch.tensor([0.5, 0.01]))
        kept.append(sum(storages.values()))
    assert kept[1] <= 4.05 * kept[0]
    assert kept[1] <= 1.1 * 4 * q.numel() * q.element_size()  # q, k, v, and states that are no larger than one


def test_no_temporary_grows_with_length(largest_tensor):
    length = 4096
    q, k, v = (torch.randn(length, 2, 16, requires_grad=True) for _ in range(3))
    with largest_tensor:
        out, _ = lightning(q, k, v, torch.tensor([0.5, 0.01]))
        out.sum().backward()
    assert largest_tensor.elements == q.numel()
