"""The native step computes what the torch modules compute, for every kind of layer, weight and batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_decoders import CONFIGS, MINIMAX_LIKE, make, random_tokens

from fulmen.kernels import native
from fulmen.model.cache import ForwardBatch, HybridCache
from fulmen.model.decoder import Decoder
from fulmen.model.native import NativeStep
from fulmen.model.quantize import quantize_

pytestmark = pytest.mark.skipif(not native.available(), reason=str(native.unavailable_reason()))
PAGE = 8


def cache_of(model, sequences, *, dtype=torch.float32):
    """A cache of four pages and a slot for each sequence, with the pages dealt out in disorder."""
    cache = HybridCache(model.config, num_pages=4 * sequences, num_slots=sequences, page_size=PAGE, dtype=dtype)
    dealt = torch.randperm(4 * sequences, generator=torch.Generator().manual_seed(3)).view(sequences, 4).tolist()
    return cache, dealt


def both(model, steps, *, dtype=torch.float32):
    """Logits and caches of torch and of the native step after the same `steps` [(sequence, length), ...]."""
    sequences = 1 + max(sequence for step in steps for sequence, _ in step)
    tokens = random_tokens(model.config, sequences, 4 * PAGE)
    step_native, outputs, caches = NativeStep(model), [], []
    for use_native in (False, True):
        cache, pages = cache_of(model, sequences, dtype=dtype)
        done, logits = [0] * sequences, []
        for step in steps:
            batch = ForwardBatch.pack(
                [length for _, length in step],
                contexts=[done[i] for i, _ in step],
                slots=[i for i, _ in step],
                pages=[pages[i] for i, _ in step],
            )
            packed = torch.cat([tokens[i, done[i] : done[i] + length] for i, length in step])
            if use_native:
                assert step_native.supports(batch)
                logits.append(step_native.forward(packed, batch, cache, torch.arange(len(packed))))
            else:
                logits.append(model.head(model(packed, batch, cache)))
            for i, length in step:
                done[i] += length
        outputs.append(torch.cat(logits))
        caches.append(cache)
    return outputs, caches


def assert_same(outputs, caches, tolerance):
    torch.testing.assert_close(outputs[1], outputs[0], atol=tolerance, rtol=tolerance)
    for name in ("states", "keys", "values"):
        one, other = (getattr(cache, name).float() for cache in caches)
        torch.testing.assert_close(other, one, atol=tolerance, rtol=tolerance)


MIXED = [[(0, 9), (1, 1), (2, 20)], [(2, 1), (0, 1)], [(0, 1), (1, 8), (2, 1)], [(1, 3)]]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_float32_equals_torch(config, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_same(*both(make(config), MIXED), 2e-5)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_int8_equals_torch_with_the_same_weights(config):
    # Activations are in fixed point in one and float32 in the other, and both lose about 2^-24 of the largest.
    assert_same(*both(quantize_(make(config), "int8"), MIXED), 2e-5)


def test_bfloat16_is_at_least_as_close_to_float32_as_torch_is():
    rounded, exact = make(MINIMAX_LIKE).to(torch.bfloat16), make(MINIMAX_LIKE)
    exact.load_state_dict(rounded.state_dict())
    truth, _ = both(exact, MIXED)
    outputs, _ = both(rounded, MIXED, dtype=torch.bfloat16)
    live = slice(0, MINIMAX_LIKE.num_live_tokens)
    errors = [(output - truth[0])[:, live].norm() / truth[0][:, live].norm() for output in outputs]
    assert errors[1] <= errors[0] < 0.1


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_batch_equals_torch(data):
    room, steps = [4 * PAGE] * 3, []
    for _ in range(data.draw(st.integers(1, 4))):
        step = []
        for i in data.draw(st.permutations(range(3))):
            length = data.draw(st.integers(0, min(21, room[i])))
            if length:
                step.append((i, length))
                room[i] -= length
        if step:
            steps.append(step)
    if steps:
        assert_same(*both(make(MINIMAX_LIKE), steps), 5e-5)


@pytest.mark.parametrize("quantized", [False, True])
def test_neighbours_do_not_change_a_bit(quantized):
    model = make(CONFIGS["shared expert"])
    if quantized:
        quantize_(model, "int8")
    tokens, step = random_tokens(model.config, 6, 12), NativeStep(model)

    def logits(sequences):
        cache, pages = cache_of(model, 6)
        rows = []
        for t in range(12):
            batch = ForwardBatch.pack(
                [1] * len(sequences),
                contexts=[t] * len(sequences),
                slots=sequences,
                pages=[pages[i] for i in sequences],
            )
            rows.append(step.forward(tokens[sequences, t], batch, cache, torch.arange(len(sequences))))
        return torch.stack(rows, 1)

    together = logits(list(range(6)))
    for i in range(6):
        assert torch.equal(logits([i])[0], together[i])


def test_changes_in_place_are_seen_and_replaced_parameters_refused():
    model = make(MINIMAX_LIKE)
    step, (cache, pages) = NativeStep(model), cache_of(model, 1)
    batch = ForwardBatch.pack([1], slots=[0], pages=pages)

    def logits():
        cache.clear_slot(0)
        return step.forward(torch.tensor([5]), batch, cache, torch.tensor([0]))

    before = logits()
    model.model.norm.weight.mul_(2)
    torch.testing.assert_close(logits(), 2 * before)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    with pytest.raises(RuntimeError, match="parameter weight was replaced"):
        logits()


def test_only_wanted_rows_come_back_and_hidden_states_on_request():
    model = make(MINIMAX_LIKE)
    tokens, (cache, pages) = random_tokens(model.config, 7), cache_of(model, 1)
    hidden = torch.full((7, model.config.hidden_size), torch.nan)
    batch = ForwardBatch.pack([7], slots=[0], pages=pages)
    logits = NativeStep(model).forward(tokens, batch, cache, torch.tensor([6, 2]), hidden=hidden)
    torch.testing.assert_close(logits, model.logits(tokens)[[6, 2]], atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(model.head(hidden), model.logits(tokens), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("quantized", [False, True])
def test_a_step_without_wanted_rows_fills_the_cache_alone(quantized):
    model = make(MINIMAX_LIKE)
    if quantized:
        quantize_(model, "int8")
    tokens, step, states = random_tokens(model.config, 7), NativeStep(model), []
    for wanted in ([], [6]):
        cache, pages = cache_of(model, 1)
        batch = ForwardBatch.pack([7], slots=[0], pages=pages)
        rows = torch.tensor(wanted, dtype=torch.int64)
        assert step.forward(tokens, batch, cache, rows).shape == (len(wanted), model.config.vocab_size)
        states.append(cache.states)
    assert torch.equal(*states)


@pytest.mark.parametrize(
    ("token", "slot", "page", "reason"),
    [(61, 0, 0, "token"), (-1, 0, 0, "token"), (1, 4, 0, "slot"), (1, 0, 99, "page")],
)
def test_what_does_not_fit_is_an_error_and_not_a_crash(token, slot, page, reason):
    model = make(MINIMAX_LIKE)
    cache, _ = cache_of(model, 1)
    batch = ForwardBatch.pack([1], slots=[slot], pages=[[page]])
    with pytest.raises(ValueError, match=reason):
        NativeStep(model).forward(torch.tensor([token]), batch, cache, torch.tensor([0]))


def test_large_batches_are_left_to_torch():
    model = make(MINIMAX_LIKE)
    assert not NativeStep(model).supports(ForwardBatch.pack([65], slots=[0], pages=[[0]]))
    assert not NativeStep(model).supports(ForwardBatch.pack([4]))


def test_other_weights_are_refused_by_name():
    with pytest.raises(ValueError, match="float16"):
        NativeStep(Decoder(MINIMAX_LIKE, dtype=torch.float16))
