"""int8 products, of the native step and of a prefill, against exact ones: as close as float32 gets, whatever the sizes
and the batch."""

import pytest
import torch

from fulmen.kernels import int8_experts, int8_linear, native, reference
from fulmen.kernels.native import Kind, Matrix, ProgramBuilder, Shape

pytestmark = pytest.mark.skipif(not native.available(), reason=str(native.unavailable_reason()))
LARGEST = 0x7F7F00
"""A token with this as its largest element takes steps of 1 in fixed point (fixed_point.h)."""


def random_weight(rows, cols, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-128, 128, (rows, cols), dtype=torch.int8, generator=generator)
    return weight, torch.rand(rows, generator=generator) + 0.5


def step_product(x, weight, scale):
    """x float32 [T, cols] times (weight * scale)^T by the native step, as the logits of embeddings."""
    tokens, (rows, cols) = len(x), weight.shape
    builder = ProgramBuilder()
    buffer = builder.buffer("x", cols)
    builder.add(Kind.EMBED, output=buffer, weight=Matrix.of(x))
    builder.add(Kind.HEAD, input=buffer, weight=Matrix.of(weight, scale))
    shape = Shape(heads=1, kv_heads=1, head_dim=cols, vocab=max(rows, tokens), live_vocab=rows)
    out = builder.finish(shape, torch.ones(1)).run(
        tokens=torch.arange(tokens),
        positions=torch.arange(tokens),
        cu_seqlens=torch.tensor([0, tokens]),
        slots=None,
        block_table=None,
        wanted=torch.arange(tokens),
        keys=torch.empty(0, 0, 1, 1, cols),
        values=torch.empty(0, 0, 1, 1, cols),
        states=torch.empty(0, 0, 1, cols, cols),
    )
    return out[:, :rows]


@pytest.fixture(params=[step_product, int8_linear])
def products(request):
    return request.param


def assert_close(products, x, weight, scale):
    """Within 2^-22 of what a token's largest element can contribute (a step and the sums' rounding) and half a bit."""
    exact = x.double() @ (weight.double() * scale.double()[:, None]).T
    reach = x.double().abs().amax(1, keepdim=True) * (weight.double().abs().sum(1) * scale.double())
    assert ((products(x, weight, scale).double() - exact).abs() <= 2.0**-22 * reach + 2.0**-24 * exact.abs()).all()


@pytest.mark.parametrize("cols", [1, 3, 31, 63, 64, 65, 100, 192, 577])
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 130])
def test_products_are_as_close_as_float32_gets(products, rows, cols):
    weight, scale = random_weight(rows, cols, seed=cols)
    for tokens in (*range(1, 18), 65):
        assert_close(
            products, torch.randn(tokens, cols, generator=torch.Generator().manual_seed(tokens)), weight, scale
        )


@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("outlier", [1e3, 1e6, 1e12])
def test_an_outlier_costs_no_more_than_its_own_rounding(products, unit, outlier):
    weight, scale = random_weight(20, 300)
    x = torch.randn(5, 300, generator=torch.Generator().manual_seed(1)) * unit
    x[2, 17] *= outlier
    assert_close(products, x, weight, scale)


def test_integers_are_summed_exactly_beside_an_outlier_of_all_digits(products):
    generator = torch.Generator().manual_seed(2)
    weight, _ = random_weight(20, 300)
    x = torch.randint(-999, 1000, (5, 300), generator=generator)
    x[:, 17] = LARGEST
    weight[:, 17] = 0
    x[:, 18] = torch.tensor([-65536, -257, 128, 65535, -128])  # every carry between digits
    weight[:, 18] = 1
    exact = x @ weight.long().T
    assert torch.equal(products(x.float(), weight, torch.ones(20)), exact.float())


@pytest.mark.parametrize("cols", [65_536, 70_000])
def test_largest_weights_and_elements_do_not_overflow(products, cols):
    weight = torch.full((3, cols), -128, dtype=torch.int8)
    weight[1], weight[2, ::2] = 127, 127
    x = torch.full((2, cols), 3.0)
    x[1, ::2] = -3.0
    assert_close(products, x, weight, torch.ones(3))


def test_zeros_and_elements_below_any_step_give_zero(products):
    weight, scale = random_weight(9, 70)
    x = torch.zeros(3, 70)
    x[1] = 1e-42
    x[2, 5] = 1.0
    out = products(x, weight, scale)
    assert torch.equal(out[0], torch.zeros(9))
    assert out[1].abs().max() < 1e-37
    torch.testing.assert_close(out[2], weight[:, 5] * scale)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_stays_visible_and_with_its_token(products, wrong):
    weight, scale = random_weight(9, 70)
    weight[weight == 0] = 1
    x = torch.randn(3, 70, generator=torch.Generator().manual_seed(3))
    before = products(x, weight, scale)
    x[1, 66] = wrong
    after = products(x, weight, scale)
    assert not after[1].isfinite().any()
    assert torch.equal(after[::2], before[::2])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_neighbours_and_threads_do_not_change_a_bit(products, threads):
    weight, scale = random_weight(333, 200)
    x = torch.randn(17, 200, generator=torch.Generator().manual_seed(4))
    alone = torch.cat([products(x[i : i + 1], weight, scale) for i in range(17)])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for tokens in (1, 2, 3, 7, 8, 17):
            assert torch.equal(products(x[:tokens], weight, scale), alone[:tokens])
    finally:
        torch.set_num_threads(before)


def test_rows_may_lie_apart_and_bfloat16_stays_bfloat16():
    weight, scale = random_weight(70, 130)
    wide = torch.randn(9, 300, generator=torch.Generator().manual_seed(5))
    x = wide[:, 100:230]
    assert torch.equal(int8_linear(x, weight, scale), int8_linear(x.contiguous(), weight, scale))
    narrow = x.bfloat16()
    torch.testing.assert_close(
        int8_linear(narrow, weight, scale), int8_linear(narrow.float(), weight, scale).bfloat16(), atol=0, rtol=0
    )


def test_without_openmp_the_pool_computes_the_same(monkeypatch):
    weight, scale = random_weight(333, 200)
    x = torch.randn(70, 200, generator=torch.Generator().manual_seed(7))
    before = int8_linear(x, weight, scale)
    monkeypatch.setattr("fulmen.kernels.native.products.openmp", lambda: None)
    assert torch.equal(int8_linear(x, weight, scale), before)


def test_no_tokens_give_no_rows():
    weight, scale = random_weight(70, 130)
    assert int8_linear(torch.empty(0, 130), weight, scale).shape == (0, 70)


@pytest.mark.parametrize("tokens", [1, 9, 200])
def test_experts_equal_a_loop_over_tokens_on_widened_weights(tokens):
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(tokens, 40, generator=generator)
    (w13, scale13), (w2, scale2) = random_weight(5 * 48, 40), random_weight(5 * 40, 24)
    w13, scale13, w2, scale2 = w13.view(5, 48, 40), scale13.view(5, 48) / 400, w2.view(5, 40, 24), scale2.view(5, 40)
    weights, ids = torch.rand(tokens, 5, generator=generator).topk(2)
    out = int8_experts(x, ids, weights, w13, scale13, w2, scale2)
    wide13, wide2 = (w.double() * s.double()[..., None] for w, s in ((w13, scale13), (w2, scale2)))
    exact = reference.grouped_experts(x.double(), ids, weights.double(), wide13, wide2)
    torch.testing.assert_close(out.double(), exact, atol=1e-6 * exact.abs().max(), rtol=1e-5)
