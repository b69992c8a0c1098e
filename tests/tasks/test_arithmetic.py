"""Arithmetic tasks prove themselves: answers are Python's, every step holds, and splits share no problem."""

import re
from statistics import median

import pytest
from proofs import prove_scores, prove_splits, take
from worked_steps import check_steps, value_of

from fulmen.tasks.arithmetic import TASKS
from fulmen.tasks.arithmetic.comparison import (
    IS_LARGER_QUESTIONS,
    IS_SMALLER_QUESTIONS,
    LARGER_QUESTIONS,
    SMALLER_QUESTIONS,
)
from fulmen.tasks.arithmetic.expressions import EXPRESSION_QUESTIONS, reduce_expression
from fulmen.tasks.arithmetic.products import (
    DIVISION_QUESTIONS,
    MULTIPLICATION_QUESTIONS,
    QUOTIENT_QUESTIONS,
    REMAINDER_QUESTIONS,
)
from fulmen.tasks.arithmetic.sums import ADDITION_QUESTIONS, SUBTRACTION_QUESTIONS
from fulmen.tasks.problem import score_answer

every_task = pytest.mark.parametrize("name", TASKS)
SIGNS = {"addition": "+", "subtraction": "-", "multiplication": "*", "chained_sums": "+-", "expressions": "+-*"}


@every_task
@pytest.mark.parametrize("split", ["train", "test"])
def test_task_proves_itself(name, split) -> None:
    task = TASKS[name]()
    assert task.name == name
    for seed in range(10):
        examples = take(task, split, seed, 60)
        prove_scores(task, examples)
        for example in examples:
            assert check_steps(example.demonstration.thinking.replace("r", ";r"))


@every_task
def test_splits_share_no_question(name) -> None:
    prove_splits(TASKS[name](), 2000)


@every_task
def test_traces_are_short(name) -> None:
    lengths = [len(e.demonstration.thinking) for e in take(TASKS[name](), "train", 1, 1000)]
    assert median(lengths) <= 150
    assert max(lengths) <= 400


def operands(question: str, ordered: bool = True) -> tuple[int, ...]:
    """The numbers of a question; sorted if their order doesn't matter."""
    numbers = tuple(map(int, re.findall(r"\d+", question)))
    return numbers if ordered else tuple(sorted(numbers))


def test_wordings_do_not_hide_a_shared_problem() -> None:
    train = {operands(e.messages[0].content, False) for e in take(TASKS["addition"](), "train", 0, 20000)}
    for name in ("addition", "two_or_three_digit_sums"):
        signs = [e for e in take(TASKS[name](), "test", 1, 1000) if "+" in e.demonstration.thinking.split(":")[0]]
        assert len(signs) > 300
        assert not train & {operands(e.messages[0].content, False) for e in signs}


def test_division_answers() -> None:
    for example in take(TASKS["division"](), "train", 0, 500):
        a, b = operands(example.demonstration.thinking.split(":")[0].split("=")[0])
        question, answer = example.messages[0].content, example.reference
        assert {a, b} == set(operands(question))
        if "remainder" in answer:
            assert operands(answer) == divmod(a, b)
        else:
            remainder = "mod" in question or "remainder" in question or "left over" in question
            assert int(answer) == (a % b if remainder else a // b)
            assert remainder or a % b == 0


def test_comparison_answers() -> None:
    for example in take(TASKS["comparison"](), "test", 0, 500):
        question, answer = example.messages[0].content, example.reference
        a, b = operands(question)
        if answer in ("yes", "no"):
            assert answer == ("yes" if ((a < b) if re.search("small|less|under|<", question) else (a > b)) else "no")
        else:
            assert int(answer) == (min if re.search("small|less|min", question) else max)(a, b)


@pytest.mark.parametrize("name", ["chained_sums", "expressions"])
def test_expression_answers_are_those_of_python(name) -> None:
    for example in take(TASKS[name](), "test", 3, 500):
        expression = re.search(r"[\d(][\d()+*\- ]*[\d)]", example.messages[0].content)[0]
        assert int(example.reference) == value_of(expression)


def test_expressions_by_hand() -> None:
    assert reduce_expression("(2+3)*4") == (["2+3=5", "5*4", "5*4=20"], 20)
    assert reduce_expression("9-2*3-5")[1] == -2
    assert reduce_expression("((2+3)*2-1)*2")[1] == 18
    with pytest.raises(ValueError, match="2/3"):
        reduce_expression("2/3")


def test_there_are_many_wordings_and_no_two_alike() -> None:
    groups = [
        ADDITION_QUESTIONS, SUBTRACTION_QUESTIONS, MULTIPLICATION_QUESTIONS, EXPRESSION_QUESTIONS,
        DIVISION_QUESTIONS + QUOTIENT_QUESTIONS + REMAINDER_QUESTIONS,
        LARGER_QUESTIONS + SMALLER_QUESTIONS + IS_LARGER_QUESTIONS + IS_SMALLER_QUESTIONS,
    ]  # fmt: skip
    for wordings in groups:
        assert len(set(wordings)) == len(wordings) >= 15


@pytest.mark.parametrize(
    ("expected", "content", "value"),
    [
        ("632", "The answer is 632.", 1),
        ("632", "347+285=632", 1),
        ("1632", "1,632", 1),
        ("-62", "It is \u221262", 1),
        ("-62", "62", 0),
        ("62", "-62", 0),
        ("632", "632, or 633", 0),
        ("57 remainder 5", "57 r 5", 1),
        ("57 remainder 5", "57", 0),
        ("57 remainder 5", "5 remainder 57", 0),
        ("yes", "Yes, it is.", 1),
        ("yes", "no", 0),
        ("no", "No.", 1),
    ],
)
def test_replies_are_read_leniently(expected, content, value) -> None:
    assert score_answer(expected, content).value == value
