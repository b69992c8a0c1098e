"""Softmax attention, packed and paged, against a loop over queries."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.kernels import paged_attention, reference, softmax_attention

PAGE, DIM = 4, 8
group_shapes = st.sampled_from([(1, 1), (4, 2), (6, 2), (3, 3)])  # (query heads, key and value heads)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@st.composite
def paged_batches(draw):
    """Lengths, contexts and a block table whose pages are neighbours or scattered."""
    lengths = tuple(draw(st.lists(st.sampled_from([1, 1, 2, 5, 33]), min_size=1, max_size=4)))
    contexts = tuple(draw(st.sampled_from([0, 1, 3, 4, 5, 31])) for _ in lengths)
    needed = [-(-(length + context) // PAGE) for length, context in zip(lengths, contexts, strict=True)]
    pages = list(range(sum(needed) + 2))
    if draw(st.booleans()):
        draw(st.randoms(use_true_random=False)).shuffle(pages)
    rows = [[pages.pop(0) for _ in range(count)] for count in needed]
    width = max(needed)
    return lengths, contexts, torch.tensor([row + [0] * (width - len(row)) for row in rows]), sum(needed) + 2


@settings(max_examples=40, deadline=None)
@given(paged_batches(), group_shapes, st.sampled_from([(torch.float64, 1e-12), (torch.float32, 1e-5)]))
def test_paged_attention_equals_the_loop(batch, heads, precision):
    lengths, contexts, table, num_pages = batch
    dtype, tolerance = precision
    q = random(sum(lengths), heads[0], DIM, dtype=dtype)
    keys, values = random(2, num_pages, PAGE, heads[1], DIM, seed=1, dtype=dtype)
    out = paged_attention(q, keys, values, table, lengths, contexts)
    expected = reference.paged_attention(q, keys, values, table, lengths, contexts)
    torch.testing.assert_close(out, expected, rtol=0, atol=tolerance)


def test_what_lies_behind_the_last_token_does_not_matter():
    """Pages are handed on uncleared: NaN in their unused entries must not reach a result."""
    q = random(7, 4, DIM)
    keys, values = random(2, 5, PAGE, 2, DIM, seed=1)
    table, lengths, contexts = torch.tensor([[2, 3], [4, 1]]), (6, 1), (0, 4)
    clean = paged_attention(q, keys, values, table, lengths, contexts)
    for pages in (keys, values):
        pages[0] = pages[3, 2:] = pages[1, 1:] = float("nan")
    assert torch.equal(paged_attention(q, keys, values, table, lengths, contexts), clean)


def test_chunks_equal_one_piece():
    q = random(50, 4, DIM)
    keys, values = random(2, 13, PAGE, 2, DIM, seed=1)
    table = torch.arange(13)[None]
    whole = paged_attention(q, keys, values, table, (50,), (0,))
    parts = [
        paged_attention(q[start : start + size], keys, values, table, (size,), (start,))
        for start, size in [(0, 1), (1, 20), (21, 1), (22, 28)]
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-12)


def test_no_scores_over_the_whole_context(largest_tensor):
    length, context = 256, 4096
    q = random(length, 4, DIM, dtype=torch.float32)
    keys, values = random(2, (context + length) // PAGE, PAGE, 2, DIM, seed=1, dtype=torch.float32)
    table = torch.arange(len(keys))[None]
    with largest_tensor:
        paged_attention(q, keys.clone(), values.clone(), table, (length,), (context,))
    assert largest_tensor.elements <= keys.numel() < length * context


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, 17, 40]), min_size=1, max_size=4).filter(any), group_shapes)
def test_packed_attention_and_its_gradients_equal_the_loop(lengths, heads):
    total = sum(lengths)
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0)
    leaves = [random(total, count, DIM, seed=n).requires_grad_() for n, count in enumerate((heads[0], *heads[1:] * 2))]
    d_out = random(total, heads[0], DIM, seed=9)
    results = []
    for form in (softmax_attention, reference.softmax_attention):
        out = form(*leaves, cu_seqlens)
        results.append((out, *torch.autograd.grad(out, leaves, d_out)))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def test_sizes_that_disagree_are_named():
    q, k = random(5, 2, DIM), random(5, 1, DIM)
    with pytest.raises(ValueError, match="number of tokens 5"):
        softmax_attention(q, k, k, torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="there are 5 queries"):
        paged_attention(q, k[None], k[None], torch.tensor([[0]]), (4,), (0,))


def test_by_hand():
    """Scores 0 and ln 3 after scaling: the second query weighs its two values 1 : 3."""
    q = torch.tensor([[[5.0, 0, 0, 0]], [[2.0, 0, 0, 0]]], dtype=torch.float64)
    k = torch.zeros_like(q)
    k[1, 0, 0] = torch.tensor(3.0).double().log()
    v = torch.tensor([4.0, 8.0], dtype=torch.float64)[:, None, None].expand(2, 1, 4)
    for form in (softmax_attention, reference.softmax_attention):
        assert form(q, k, v, torch.tensor([0, 2]))[:, 0, 0].tolist() == pytest.approx([4, 7])


def test_without_the_native_kernel_short_bfloat16_is_attended_to_in_float32_under_autocast_too(monkeypatch):
    monkeypatch.setattr("fulmen.kernels.native.loading.available", lambda: False)
    generator = torch.Generator().manual_seed(5)
    q, k, v = (torch.randn(50, heads, 16, generator=generator).bfloat16() for heads in (4, 2, 2))
    bounds = torch.tensor([0, 20, 50])
    expected = softmax_attention(q.float(), k.float(), v.float(), bounds).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(softmax_attention(q, k, v, bounds), expected)
