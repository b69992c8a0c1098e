"""Which of two numbers is larger or smaller, and whether one is larger than the other."""

import random

from fulmen.tasks.arithmetic.sums import draw_number
from fulmen.tasks.problem import Problem
from fulmen.tasks.working import compare

LARGER_QUESTIONS = (
    "Which is larger, {a} or {b}?",
    "Which number is greater: {a} or {b}?",
    "What is the bigger number, {a} or {b}?",
    "Which of {a} and {b} is larger?",
    "Name the larger of {a} and {b}.",
    "Give the maximum of {a} and {b}.",
    "max({a}, {b}) =",
)
SMALLER_QUESTIONS = (
    "Which is smaller, {a} or {b}?",
    "Which number is less: {a} or {b}?",
    "What is the smaller number, {a} or {b}?",
    "Which of {a} and {b} is smaller?",
    "Name the smaller of {a} and {b}.",
    "Give the minimum of {a} and {b}.",
    "min({a}, {b}) =",
)
IS_LARGER_QUESTIONS = (
    "Is {a} larger than {b}?",
    "Is {a} greater than {b}? Answer yes or no.",
    "Is {a} more than {b}?",
    "Yes or no: {a} > {b}?",
)
IS_SMALLER_QUESTIONS = (
    "Is {a} smaller than {b}?",
    "Is {a} less than {b}? Answer yes or no.",
    "Is {a} under {b}?",
    "Yes or no: {a} < {b}?",
)


def draw_comparison(rng: random.Random) -> Problem:
    """Two numbers of up to four digits that differ; half of them share their first digit or more."""
    a = draw_number(rng)
    b = draw_number(rng)
    if rng.random() < 0.5:
        place = 10 ** rng.randrange(len(str(a)))
        b = a // (10 * place) * 10 * place + rng.randrange(10 * place)
    if a == b:
        b += 1
    if rng.random() < 0.5:
        a, b = b, a
    questions, answer = rng.choice(
        (
            (LARGER_QUESTIONS, str(max(a, b))),
            (SMALLER_QUESTIONS, str(min(a, b))),
            (IS_LARGER_QUESTIONS, "yes" if a > b else "no"),
            (IS_SMALLER_QUESTIONS, "yes" if a < b else "no"),
        )
    )
    width = max(len(str(a)), len(str(b)))
    return Problem(
        key=f"{min(a, b)}<{max(a, b)}" if max(a, b) > 9 else "",
        question=rng.choice(questions).format(a=a, b=b),
        thinking=f"{a:0{width}},{b:0{width}}:{compare(a, b)};{a}{'>' if a > b else '<'}{b}",
        answer=answer,
    )
