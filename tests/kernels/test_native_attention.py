"""Packed attention by the native kernel, and its gradient, against plain softmax in float64."""

from itertools import accumulate, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.kernels import native, paged_attention, softmax_attention
from fulmen.kernels.packed_attention import packed_attention

pytestmark = pytest.mark.skipif(not native.available(), reason=str(native.unavailable_reason()))
NATIVE = "_PackedAttentionBackward"
packed_lengths = st.lists(st.sampled_from([0, 1, 1, 2, 7, 31, 32, 33, 63, 64, 65, 129, 300]), min_size=1, max_size=4)
head_counts = st.sampled_from([(1, 1), (3, 3), (4, 2), (6, 3), (4, 1)])  # of queries, and of keys and values
dims = st.sampled_from([16, 32, 64, 80, 128])


def random(*shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def inputs(tokens, heads, dim, dtype=torch.float32):
    """q, k, v, and a gradient of the output."""
    return [
        random(tokens, count, dim, seed=seed, dtype=dtype) for seed, count in enumerate((*heads, heads[1], heads[0]))
    ]


def plain(q, k, v, bounds):
    outs = [q[:0]]
    for start, end in pairwise(bounds):
        ones = torch.ones(end - start, end - start, dtype=torch.bool).tril()
        keys, values = (x[start:end].repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q[start:end], keys) * q.shape[-1] ** -0.5
        outs.append(torch.einsum("hqk,khd->qhd", scores.masked_fill(~ones, -torch.inf).softmax(-1), values))
    return torch.cat(outs)


def with_gradients(form, q, k, v, bounds, d_out):
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    out = form(*leaves, bounds)
    return [out.detach(), *torch.autograd.grad(out, leaves, d_out)]


def exact(q, k, v, bounds, d_out):
    return with_gradients(plain, q.double(), k.double(), v.double(), bounds, d_out.double())


def assert_near(actual, expected, part):
    """Within a part of the largest element, or of 1 where it is less: of what cancels in a gradient, rounding stays."""
    for ours, theirs in zip(actual, expected, strict=True):
        largest = float(theirs.abs().max()) if theirs.numel() else 0.0
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=part * max(largest, 1.0))


@settings(max_examples=40, deadline=None)
@given(packed_lengths, head_counts, dims, st.sampled_from([(torch.float32, 5e-6), (torch.bfloat16, 2.0**-5)]))
def test_values_and_gradients_equal_plain_softmax(lengths, heads, dim, precision):
    dtype, part = precision
    bounds = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    q, k, v, d_out = inputs(bounds[-1], heads, dim, dtype)
    results = with_gradients(packed_attention, q, k, v, bounds, d_out)
    assert all(result.dtype == dtype for result in results)
    assert_near(results, exact(q, k, v, bounds, d_out), part)
    assert torch.equal(packed_attention(q, k, v, bounds), results[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_of_a_joint_tensor_give_the_same_bits(dtype):
    bounds = [0, 50, 177]
    joint, wide = random(177, 8, 64, seed=0, dtype=dtype), random(177, 64, 8, seed=1, dtype=dtype)
    q, k, v, d_out = joint[:, :4, 16:48], joint[:, 4:6, :32], joint[:, 6:, 32:], wide[:, :32, :4].transpose(1, 2)
    apart = with_gradients(packed_attention, q, k, v, bounds, d_out)
    joined = with_gradients(packed_attention, *(x.contiguous() for x in (q, k, v)), bounds, d_out.contiguous())
    for actual, expected in zip(apart, joined, strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_and_the_pool_do_not_change_a_bit(dtype, monkeypatch):
    bounds = [0, 200, 203, 333]
    q, k, v, d_out = inputs(333, (4, 2), 32, dtype)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(with_gradients(packed_attention, q, k, v, bounds, d_out))
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr("fulmen.kernels.native.attention.openmp", lambda: None)
    results.append(with_gradients(packed_attention, q, k, v, bounds, d_out))
    for other in results[1:]:
        assert all(torch.equal(actual, expected) for actual, expected in zip(other, results[0], strict=True))


def test_sequences_do_not_know_of_each_other():
    q, k, v, d_out = inputs(150, (4, 2), 32)
    before = with_gradients(packed_attention, q, k, v, [0, 70, 150], d_out)
    for x in (q, k, v, d_out):
        x[:70] = torch.nan
    after = with_gradients(packed_attention, q, k, v, [0, 70, 150], d_out)
    for first, second in zip(before, after, strict=True):
        assert second[:70].isnan().all()
        assert torch.equal(first[70:], second[70:])


@pytest.mark.parametrize("scale", [30.0, 1e3, 1e15])
def test_large_scores_do_not_overflow(scale):
    """Rising along the sequence, so that the largest score of a query changes with every block of keys."""
    bounds = [0, 300]
    q, k, v, d_out = inputs(300, (2, 1), 32)
    q = q.abs() * scale
    k = torch.linspace(-1, 1, 300)[:, None, None] * torch.ones(300, 1, 32)
    out, *grads = with_gradients(packed_attention, q, k, v, bounds, d_out)
    expected, *expected_grads = exact(q, k, v, bounds, d_out)
    assert all(grad.isfinite().all() for grad in grads)
    assert_near([out], [expected], 2e-3)  # what the scores' own rounding leaves
    if scale < 1e15:
        assert_near(grads[2:], expected_grads[2:], 2e-3)


def test_weights_too_small_for_a_float_are_zero():
    q, k, v, _ = inputs(100, (1, 1), 32)
    k[:50] = -1e3 * q[99]
    torch.testing.assert_close(packed_attention(q, k, v, [0, 100])[99], plain(q[50:], k[50:], v[50:], [0, 50])[49])


def test_gradients_of_any_layout_and_of_some_inputs():
    q, k, v, _ = inputs(40, (4, 2), 32)
    expected = exact(q, k, v, [0, 40], torch.ones(40, 4, 32))
    v.requires_grad_()
    packed_attention(q, k, v, [0, 40]).sum().backward()  # its gradient is one number, expanded
    assert_near([v.grad], expected[3:], 3e-6)
    q = q.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    packed_attention(q, k, v, [0, 40]).sum().backward()
    assert_near([q.grad], expected[1:2], 3e-6)


def test_second_derivatives_are_refused():
    q, k, v, _ = inputs(5, (1, 1), 32)
    q.requires_grad_()
    (grad,) = torch.autograd.grad(packed_attention(q, k, v, [0, 5]).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_softmax_attention_goes_to_the_kernel_under_autocast_too(dtype):
    q, k, v, _ = inputs(50, (4, 2), 32, dtype)
    q.requires_grad_()
    expected = packed_attention(q, k, v, [0, 20, 50])
    with torch.autocast("cpu", torch.bfloat16):
        out = softmax_attention(q, k, v, torch.tensor([0, 20, 50]))
    assert out.grad_fn.name().startswith(NATIVE)
    assert torch.equal(out, expected)


@pytest.mark.parametrize(("dtype", "dim"), [(torch.float64, 32), (torch.float32, 6)])
def test_torch_computes_what_the_kernel_does_not_take(dtype, dim):
    q, k, v, d_out = inputs(50, (4, 2), dim, dtype)
    bounds = torch.tensor([0, 20, 50])
    assert not softmax_attention(q.requires_grad_(), k, v, bounds).grad_fn.name().startswith(NATIVE)
    results = with_gradients(softmax_attention, q, k, v, bounds, d_out)
    assert_near(results, exact(q, k, v, bounds.tolist(), d_out), 1e-5)


def test_without_a_library_torch_computes_the_same(monkeypatch):
    q, k, v, d_out = inputs(50, (4, 2), 32)
    bounds = torch.tensor([0, 20, 50])
    before = with_gradients(softmax_attention, q, k, v, bounds, d_out)
    monkeypatch.setattr("fulmen.kernels.native.loading.available", lambda: False)
    assert not softmax_attention(q.requires_grad_(), k, v, bounds).grad_fn.name().startswith(NATIVE)
    after = with_gradients(softmax_attention, q, k, v, bounds, d_out)
    for actual, expected in zip(before, after, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_a_prefill_equals_its_chunks():
    q, k, v, _ = inputs(150, (4, 2), 32)
    keys, values = (torch.cat([x, torch.full((10, 2, 32), torch.nan)]).view(10, 16, 2, 32) for x in (k, v))
    table = torch.arange(10)[None]
    whole = paged_attention(q, keys, values, table, (150,), (0,))
    parts = [
        paged_attention(q[start : start + size], keys, values, table, (size,), (start,))
        for start, size in [(0, 1), (1, 60), (61, 1), (62, 88)]
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)


def test_what_does_not_fit_is_named():
    q, k, v, d_out = inputs(10, (4, 2), 32)
    with pytest.raises(ValueError, match="takes no torch.float64"):
        native.packed_attention(q.double(), k.double(), v.double(), [0, 10])
    with pytest.raises(ValueError, match="don't fit each other"):
        native.packed_attention(q[:, :3], k, v, [0, 10])
    with pytest.raises(ValueError, match="don't fit each other"):
        native.packed_attention(q, k, v[:9], [0, 10])
    for bounds in ([0, 9], [1, 10], [0, 7, 5, 10]):
        with pytest.raises(ValueError, match="number of tokens 10"):
            native.packed_attention(q, k, v, bounds)
    with pytest.raises(ValueError, match="side by side"):
        native.packed_attention(q.transpose(0, 2).contiguous().transpose(0, 2), k, v, [0, 10])
    out, log_sums = native.packed_attention(q, k, v, [0, 10], keep=True)
    with pytest.raises(ValueError, match="d_out must be like q"):
        native.packed_attention_gradient(q, k, v, out, log_sums, [0, 10], d_out.bfloat16())
    with pytest.raises(ValueError, match="log_sums must be"):
        native.packed_attention_gradient(q, k, v, out, log_sums[:5], [0, 10], d_out)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 7, 32, 33, 65]), st.sampled_from([0, 1, 31, 64, 130])), max_size=4),
    head_counts,
    dims,
    st.sampled_from([(torch.float32, 5e-6), (torch.bfloat16, 2.0**-5)]),
)
def test_queries_with_a_past_are_the_last_rows_of_the_whole(sequences, heads, dim, precision):
    dtype, part = precision
    queries = [0, *accumulate(length for length, _ in sequences)]
    keys = [0, *accumulate(length + past for length, past in sequences)]
    q, k, v, _ = inputs(keys[-1], heads, dim, dtype)
    own = [n for (length, _), end in zip(sequences, keys[1:], strict=True) for n in range(end - length, end)]
    out, _ = native.packed_attention(q[own].contiguous(), k, v, queries, keys)
    assert_near([out], [plain(q.double(), k.double(), v.double(), keys)[own]], part)


@pytest.mark.parametrize("length", [1, 31, 32, 100])
def test_a_chunk_of_a_prefill_is_the_same_with_torchs_kernel(length, monkeypatch):
    q, k, v, _ = inputs(200, (4, 2), 32)
    pages = [x.view(10, 20, 2, 32) for x in (k, v)]
    arguments = (q[-length:], *pages, torch.arange(10)[None], (length,), (200 - length,))
    ours = paged_attention(*arguments)
    monkeypatch.setattr(native, "attends", lambda *_: False)
    torch.testing.assert_close(ours, paged_attention(*arguments), rtol=0, atol=2e-6)


def test_bounds_that_do_not_fit_are_named():
    q, k, v, _ = inputs(6, (2, 1), 16)
    with pytest.raises(ValueError, match=r"number of tokens 6, got \[0, 5\]"):
        native.packed_attention(q, k, v, (0, 6), (0, 5))
    with pytest.raises(ValueError, match="fewer keys than queries"):
        native.packed_attention(q, k, v, (0, 5, 6), (0, 1, 6))


def test_the_default_device_does_not_matter():
    q, k, v, d_out = inputs(40, (2, 1), 16)
    expected = with_gradients(packed_attention, q, k, v, (0, 40), d_out)
    with torch.device("meta"):
        actual = with_gradients(packed_attention, q, k, v, (0, 40), d_out)
    for ours, theirs in zip(actual, expected, strict=True):
        assert torch.equal(ours, theirs)
