"""The decode step against the recurrence, and in its place after a prefill."""

import pytest
import torch

from fulmen.kernels import lightning, lightning_decode, reference


def inputs(count, heads=2, dim=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(count)
    q, k, v = torch.randn(3, count, heads, dim, dtype=dtype, generator=generator)
    states = torch.randn(6, heads, dim, dim, dtype=dtype, generator=generator)
    return q, k, v, torch.tensor([1.0, 1e-3], dtype=dtype), states


@pytest.mark.parametrize("slots", [[0], [5], [2, 3, 4], [4, 0, 2], [1, 3], [3, 2], [0, 2, 1, 3]])
def test_equals_the_recurrence_and_touches_its_slots_alone(slots):
    q, k, v, slopes, states = inputs(len(slots))
    before, expected_states = states.clone(), states.clone()
    out = lightning_decode(q, k, v, slopes, states, torch.tensor(slots))
    expected = reference.lightning_decode(q, k, v, slopes, expected_states, torch.tensor(slots))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(states, expected_states, rtol=0, atol=1e-12)
    others = [slot for slot in range(6) if slot not in slots]
    assert torch.equal(states[others], before[others])
    assert not torch.equal(states[slots], before[slots])


def test_decoding_after_a_prefill_is_a_longer_prefill():
    q, k, v, slopes, _ = inputs(70, dtype=torch.float32)
    whole, whole_final = lightning(q, k, v, slopes)
    _, states = lightning(q[:65], k[:65], v[:65], slopes)
    for t in range(65, 70):
        out = lightning_decode(
            q[t : t + 1], k[t : t + 1], v[t : t + 1], slopes, states, torch.zeros(1, dtype=torch.int64)
        )
        torch.testing.assert_close(out[0], whole[t], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(states, whole_final, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("singles", [1, 2])
def test_one_token_in_a_mixed_batch_is_a_decode_step(singles):
    """The same bits, whatever else is in the batch."""
    q, k, v, slopes, states = inputs(64 + singles, dtype=torch.float32)
    alone = states[:singles].clone()
    expected = lightning_decode(q[64:], k[64:], v[64:], slopes, alone, torch.arange(singles))
    start = torch.cat([states[2:3], states[:singles]])
    out, final = lightning(q, k, v, slopes, start, torch.tensor([0, 64, 65, 66][: 2 + singles]))
    assert torch.equal(out[64:], expected)
    assert torch.equal(final[1:], alone)


def test_bfloat16_queries_leave_a_float32_state():
    q, k, v, slopes, states = inputs(3, dtype=torch.float32)
    q, k, v = (x.bfloat16() for x in (q, k, v))
    expected = states.clone()
    slots = torch.tensor([1, 4, 2])
    reference.lightning_decode(q.float(), k.float(), v.float(), slopes, expected, slots)
    assert lightning_decode(q, k, v, slopes, states, slots).dtype == torch.bfloat16
    torch.testing.assert_close(states, expected, rtol=1e-6, atol=1e-6)
