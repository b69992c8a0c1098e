"""Sampling: each option by hand-made logits, draws that repeat, log-probabilities of what was drawn from."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.engine.sampler import Draw, sample, uniform
from fulmen.trace import SamplingParams

LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


def draw(position: int = 0, *, prompt=(), counts=None, mask=None, seed: int = 1, **params) -> Draw:
    defaults = {"temperature": 1.0, "top_p": 1.0}
    return Draw(SamplingParams(**(defaults | params)), seed, 0, position, prompt, counts or {}, mask)


def frequencies(rows: int = 4000, **options) -> list[float]:
    chosen = sample(LOGITS.repeat(rows, 1), [draw(i, **options) for i in range(rows)])
    counts = Counter(sampled.token for sampled in chosen)
    return [counts[token] / rows for token in range(4)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.7}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.45}, [1, 0, 0, 0]),
        ({"min_p": 0.25}, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        ({"temperature": 0.5}, [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
        ({"logit_bias": {3: math.log(10)}}, [0.5 / 1.45, 0.3 / 1.45, 0.15 / 1.45, 0.5 / 1.45]),
        ({"mask": torch.tensor([False, True, False, True])}, [0, 0.3 / 0.35, 0, 0.05 / 0.35]),
        ({"mask": torch.tensor([False, False, False, True]), "top_p": 0.1}, [0, 0, 0, 1]),
        ({"presence_penalty": math.log(2), "counts": {0: 5}}, [0.25 / 0.75, 0.3 / 0.75, 0.15 / 0.75, 0.05 / 0.75]),
        (
            {"frequency_penalty": math.log(2), "counts": {1: 2}},
            [0.5 / 0.775, 0.075 / 0.775, 0.15 / 0.775, 0.05 / 0.775],
        ),
    ],
    ids=str,
)
def test_each_option_gives_its_distribution(options, expected) -> None:
    assert frequencies(**options) == pytest.approx(expected, abs=0.025)
    sampled = sample(LOGITS.clone(), [draw(**options)])[0]
    assert sampled.logprob == pytest.approx(math.log(expected[sampled.token]), abs=1e-5)
    assert sampled.model_logprob == pytest.approx(LOGITS[0, sampled.token].item(), abs=1e-5)


def test_repetition_penalty_moves_prompt_and_reply_down_on_both_sides_of_zero() -> None:
    logits = torch.tensor([[2.0, 1.9, -1.0, -1.1]])
    shaped = {"repetition_penalty": 2.0, "temperature": 0.0}
    assert sample(logits, [draw(**shaped)])[0].token == 0
    assert sample(logits, [draw(prompt=(0,), **shaped)])[0].token == 1
    below = torch.tensor([[-1.0, -1.1]])
    assert sample(below, [draw(counts={0: 1}, **shaped)])[0].token == 1


def test_greedy_reports_the_models_logprob_and_the_best_tokens() -> None:
    (sampled,) = sample(LOGITS.clone(), [draw(temperature=0.0, top_logprobs=2)])
    assert sampled.token == 0
    assert sampled.logprob == pytest.approx(math.log(0.5))
    assert [token for token, _ in sampled.top] == [0, 1]
    assert [p for _, p in sampled.top] == pytest.approx([math.log(0.5), math.log(0.3)])


def test_padded_vocabulary_is_never_drawn() -> None:
    logits = torch.full((300, 40_000), 0.0)
    logits[:, 3:] = -torch.inf
    for options in ({}, {"top_p": 0.999}, {"top_k": 50}):
        assert {s.token for s in sample(logits, [draw(i, **options) for i in range(300)])} == {0, 1, 2}


@settings(max_examples=40, deadline=None)
@given(top_p=st.floats(0.05, 1.0), scale=st.floats(0.1, 8.0), seed=st.integers(0, 1 << 40))
def test_partial_sorting_draws_what_a_full_sort_draws(top_p: float, scale: float, seed: int) -> None:
    row = torch.randn(5000, generator=torch.Generator().manual_seed(seed % 97)) * scale
    (sampled,) = sample(row[None].clone(), [draw(seed=seed, top_p=top_p)])
    probabilities, tokens = row.softmax(-1).sort(descending=True)
    total = probabilities.cumsum(-1)
    kept = max(int((total - probabilities < top_p).sum()), 1)
    assert sampled.token in tokens[: kept + 1].tolist()  # rounding may move the edge by one
    probability = row.softmax(-1)[sampled.token]
    assert sampled.logprob == pytest.approx((probability / total[kept - 1]).log().item(), abs=1e-2)


def test_draws_depend_on_seed_choice_and_position_alone() -> None:
    assert uniform(1, 0, 0) == uniform(1, 0, 0)
    numbers = {uniform(s, c, p) for s in range(10) for c in range(10) for p in range(10)}
    assert len(numbers) == 1000
    assert all(0 <= u < 1 for u in numbers)
    assert abs(sum(numbers) / 1000 - 0.5) < 0.03
    alone = sample(LOGITS.clone(), [draw(5)])[0]
    assert sample(LOGITS.repeat(3, 1), [draw(1), draw(5), draw(2)])[1] == alone
