"""Scores reach the right example, and the summary is arithmetic that can be checked by hand."""

import json

import pytest

from fulmen.evals.held_out import MAX_FAILURES, evaluate


def test_summary_by_hand(doubling, calculator):
    done = []
    result = evaluate(doubling(), calculator(wrong_every=4), count=8, seed=3, report=done.append)
    assert (result.mean, result.fully_right) == (0.75, 0.75)  # examples 0 and 4 are wrong
    assert result.standard_error == pytest.approx((0.75 * 0.25 / 7) ** 0.5)  # binomial, with n - 1
    assert result.parts == {"even": 0.75}
    assert result.mean_tokens == 4.5
    assert result.cut == 1
    assert done == list(range(1, 9))


def test_failures_are_kept_with_what_was_asked(doubling, calculator):
    result = evaluate(doubling(), calculator(wrong_every=4), count=8, seed=3)
    assert [failure.index for failure in result.failures] == [0, 4]
    failure = result.failures[1].to_json()
    assert int(failure["reply"]["content"]) == 2 * int(failure["messages"][0]["content"]) + 1
    assert failure["reference"] == str(2 * int(failure["messages"][0]["content"]))
    assert failure["why"] == "not the double"
    assert json.loads(json.dumps(result.to_json()))["failures"][1] == failure


def test_many_failures_are_not_all_kept(doubling, calculator):
    result = evaluate(doubling(), calculator(wrong_every=1), count=40, seed=3)
    assert result.mean == 0
    assert len(result.failures) == MAX_FAILURES


def test_a_small_task_gives_all_that_it_has(doubling, calculator):
    result = evaluate(doubling(size=1), calculator(wrong_every=4), count=8, seed=3)
    assert (result.count, result.mean, result.standard_error) == (1, 0.0, 0.0)


@pytest.mark.parametrize(("size", "count", "reason"), [(0, 8, "doubling has no test example"), (None, 0, "count is 0")])
def test_nothing_to_evaluate_is_refused(doubling, calculator, size, count, reason):
    with pytest.raises(ValueError, match=reason):
        evaluate(doubling(size=size), calculator(wrong_every=4), count=count, seed=3)
