"""Lightning attention of activated projections, natively where the CPU can, against the recurrence in float64."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.kernels import native, reference, silu_lightning

HEADS = 3
edge_lengths = st.sampled_from([0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 100, 127, 128, 129, 193])
packed_lengths = st.lists(edge_lengths, min_size=1, max_size=5).filter(any)
dims = st.sampled_from([16, 32, 80])
seeds = st.integers(0, 2**31 - 1)
needs_native = pytest.mark.skipif(not native.available(), reason=str(native.unavailable_reason()))


def inputs(lengths, seed, dtype=torch.float32, dim=16):
    """qkv, slopes, state, cu_seqlens."""
    generator = torch.Generator().manual_seed(seed)
    qkv = torch.randn(sum(lengths), HEADS, 3 * dim, generator=generator).to(dtype)
    state = torch.randn(len(lengths), HEADS, dim, dim, generator=generator)
    return qkv, torch.tensor([1.0, 0.05, 1e-5]), state, torch.tensor([0, *lengths]).cumsum(0)


def exact(qkv, slopes, state, cu_seqlens, magnitudes=False):
    """The same by the recurrence in float64; with `magnitudes` of absolute values, which rounding errors scale with."""
    parts = torch.nn.functional.silu(qkv.double()).split(qkv.shape[-1] // 3, dim=-1)
    state = state.double()
    if magnitudes:
        parts, state = [part.abs() for part in parts], state.abs()
    return reference.lightning(*parts, slopes.double(), state, cu_seqlens)


def with_gradients(form, arguments, seed):
    """Outputs, final states, and the gradients of projections and first states."""
    qkv, slopes, state, cu_seqlens = arguments
    leaves = [x.detach().clone().requires_grad_() for x in (qkv, state)]
    out, final = form(leaves[0], slopes, leaves[1], cu_seqlens)
    generator = torch.Generator().manual_seed(seed)
    d_out, d_final = (torch.randn(x.shape, generator=generator).to(x.dtype) for x in (out, final))
    return (out, final, *torch.autograd.grad((out, final), leaves, (d_out, d_final)))


@settings(max_examples=40, deadline=None)
@given(packed_lengths, dims, seeds)
def test_outputs_states_and_gradients_equal_the_recurrence(lengths, dim, seed):
    arguments = inputs(lengths, seed, dim=dim)
    expected = with_gradients(exact, [x.double() if x.is_floating_point() else x for x in arguments], seed)
    for actual, wanted in zip(with_gradients(silu_lightning, arguments, seed), expected, strict=True):
        assert actual.dtype == torch.float32
        assert (actual - wanted).abs().max() <= 2e-6 * max(1, wanted.abs().max())


@settings(max_examples=20, deadline=None)
@given(packed_lengths, seeds)
def test_float32_errs_by_rounding_alone(lengths, seed):
    arguments = inputs(lengths, seed)
    scales = exact(*arguments, magnitudes=True)
    for actual, expected, scale in zip(silu_lightning(*arguments), exact(*arguments), scales, strict=True):
        assert ((actual - expected).abs() <= 1e-6 * scale + 1e-6).all()


@settings(max_examples=20, deadline=None)
@given(packed_lengths, seeds)
def test_bfloat16_is_rounded_once(lengths, seed):
    """Outputs and gradients of projections at the end, nothing in between: final states are those of float32."""
    arguments = inputs(lengths, seed, torch.bfloat16)
    wide = [arguments[0].float(), *arguments[1:]]
    narrow, expected = (with_gradients(silu_lightning, each, seed) for each in (arguments, wide))
    for n, (actual, wanted) in enumerate(zip(narrow, expected, strict=True)):
        assert actual.dtype == (torch.bfloat16 if n in (0, 2) else torch.float32)
        if n < 2:
            assert torch.equal(actual, wanted.to(actual.dtype))
        else:  # the output's gradient was rounded as well
            assert (actual.float() - wanted).abs().max() <= 2**-6 * max(1, wanted.abs().max())


@settings(max_examples=20, deadline=None)
@given(packed_lengths, seeds)
def test_without_gradients_it_is_the_same_to_the_last_bit(lengths, seed):
    arguments = inputs(lengths, seed)
    for actual, expected in zip(
        silu_lightning(*arguments), with_gradients(silu_lightning, arguments, seed), strict=False
    ):
        assert torch.equal(actual, expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.lists(st.integers(0, 300), max_size=4), seeds)
def test_any_split_continues_from_the_state(length, cuts, seed):
    qkv, slopes, state, _ = inputs([length], seed)
    whole, whole_final = silu_lightning(qkv, slopes, state)
    parts = []
    for start, end in pairwise(sorted({0, length, *(min(cut, length) for cut in cuts)})):
        out, state = silu_lightning(qkv[start:end], slopes, state)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=2e-6 * max(1, whole.abs().max().item()))
    torch.testing.assert_close(state, whole_final, rtol=0, atol=2e-6 * max(1, whole_final.abs().max().item()))


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neither_threads_nor_their_pool_change_a_bit(dtype, monkeypatch):
    arguments = inputs([130, 0, 64, 1], 5, dtype)
    expected = with_gradients(silu_lightning, arguments, 6)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            for actual, wanted in zip(with_gradients(silu_lightning, arguments, 6), expected, strict=True):
                assert torch.equal(actual, wanted)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr("fulmen.kernels.native.lightning.openmp", lambda: None)
    for actual, wanted in zip(with_gradients(silu_lightning, arguments, 6), expected, strict=True):
        assert torch.equal(actual, wanted)


@needs_native
def test_what_the_native_kernel_does_not_take_goes_through_torch(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("this is not for the native kernel")

    monkeypatch.setattr(native, "lightning_forward", refuse)
    odd = inputs([70, 3], 7, dim=8)
    double = [x.double() if x.is_floating_point() else x for x in inputs([70, 3], 7)]
    for arguments, tolerance in ((odd, 1e-5), (double, 1e-10)):
        for actual, expected in zip(silu_lightning(*arguments), exact(*arguments), strict=True):
            assert (actual - expected).abs().max() <= tolerance * max(1, expected.abs().max())
    monkeypatch.setattr("fulmen.kernels.native.loading.available", lambda: False)
    silu_lightning(*inputs([70, 3], 7))


def test_strides_do_not_matter():
    qkv, slopes, state, cu_seqlens = inputs([70, 3], 8)
    wide = torch.cat([qkv, qkv + 1], dim=-1)[..., : qkv.shape[-1]]
    spread = torch.stack([state, state], dim=-1)[..., 0]
    for actual, expected in zip(
        silu_lightning(wide, slopes, spread, cu_seqlens),
        silu_lightning(qkv, slopes, state, cu_seqlens),
        strict=True,
    ):
        assert torch.equal(actual, expected)
    grads = []
    for factor in (1.0, torch.ones_like(qkv[..., :16])):  # the sum's gradient is one number, spread by strides of 0
        leaf = qkv.clone().requires_grad_()
        (silu_lightning(leaf, slopes, None, cu_seqlens)[0] * factor).sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)


def test_a_given_state_is_left_alone_and_absent_means_zero():
    qkv, slopes, state, cu_seqlens = inputs([65, 1, 0], 2)
    before = state.clone()
    _, final = silu_lightning(qkv, slopes, state, cu_seqlens)
    assert torch.equal(state, before)
    assert torch.equal(final[2], before[2])
    for actual, expected in zip(
        silu_lightning(qkv, slopes, None, cu_seqlens),
        silu_lightning(qkv, slopes, torch.zeros_like(state), cu_seqlens),
        strict=True,
    ):
        assert torch.equal(actual, expected)


def test_no_tokens_leave_the_state():
    qkv, slopes, state, cu_seqlens = inputs([0, 0], 3)
    out, final = silu_lightning(qkv, slopes, state, cu_seqlens)
    assert out.shape == (0, HEADS, 16)
    assert torch.equal(final, state)


@pytest.mark.parametrize("bounds", [[0, 3], [1, 5], [0, 4, 2, 5]])
def test_bad_bounds_are_named(bounds):
    qkv, slopes, _, _ = inputs([5], 4)
    with pytest.raises(ValueError, match=r"cu_seqlens .* 5, got"):
        silu_lightning(qkv, slopes, None, torch.tensor(bounds))


def test_memory_kept_for_the_backward_is_the_projections_and_a_third_of_them():
    length, dim = 1024, 64
    qkv = torch.randn(length, 2, 3 * dim, requires_grad=True)
    storages = {}

    def pack(x):
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        silu_lightning(qkv, torch.tensor([0.5, 0.01]))
    states = length // 64 * 2 * dim * dim * 4
    assert sum(storages.values()) <= qkv.numel() * 4 + states + 8


@pytest.mark.parametrize(
    "slopes", [torch.tensor(0.05).expand(HEADS), torch.tensor([1.0, 9.0, 0.05, 9.0, 1e-5, 9.0])[::2]]
)
def test_strides_of_slopes_do_not_matter(slopes):
    qkv, _, state, cu_seqlens = inputs([70, 3], 9)
    expected = silu_lightning(qkv, slopes.clone(memory_format=torch.contiguous_format), state, cu_seqlens)
    for actual, wanted in zip(silu_lightning(qkv, slopes, state, cu_seqlens), expected, strict=True):
        assert torch.equal(actual, wanted)


@needs_native
def test_states_and_slopes_of_other_sizes_are_refused():
    qkv, slopes, state, cu_seqlens = inputs([5, 3], 10)
    for wrong in ((slopes[:1], state), (slopes, state[:1]), (slopes, state[:, :1]), (slopes, state[..., :8])):
        with pytest.raises(ValueError, match=r"a state \[2, 3, 16, 16\] and 3 slopes are needed, got"):
            silu_lightning(qkv, *wrong, cu_seqlens)


def test_another_default_device_does_not_matter():
    arguments = inputs([5, 3], 11)
    expected = with_gradients(silu_lightning, arguments, 12)
    leaf = arguments[0].clone().requires_grad_()
    with torch.device("meta"):
        out, final = silu_lightning(leaf, *arguments[1:])
        out.sum().backward()
    assert torch.equal(out, expected[0])
    assert torch.equal(final, expected[1])
    assert leaf.grad.isfinite().all()


@needs_native
def test_other_derivatives_than_the_first_backward_are_refused():
    qkv, slopes, _, _ = inputs([5], 13)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
        silu_lightning(torch.autograd.forward_ad.make_dual(qkv, qkv), slopes)
    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.grad(lambda x: silu_lightning(x, slopes)[0].sum())(qkv)
    leaf = qkv.clone().requires_grad_()
    grad = torch.autograd.grad(silu_lightning(leaf, slopes)[0].square().sum(), leaf, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 1e38])
def test_a_broken_sequence_stays_alone(broken):
    """Memory of a chunk is used again for the next: nothing of a sequence may be left in it."""
    arguments = inputs([70, 9, 3], 14)
    expected = with_gradients(silu_lightning, arguments, 15)
    qkv = arguments[0].clone()
    qkv[:70] = broken
    out, final, d_qkv, d_state = with_gradients(silu_lightning, (qkv, *arguments[1:]), 15)
    assert not out[:70].isfinite().all()
    for actual, wanted, start in zip((out, final, d_qkv, d_state), expected, (70, 1, 70, 1), strict=True):
        assert torch.equal(actual[start:], wanted[start:])
