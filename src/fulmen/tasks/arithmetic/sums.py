"""Addition and subtraction of two numbers of up to four digits; results may be negative."""

import random

from fulmen.tasks.problem import Problem
from fulmen.tasks.working import add, subtract

ADDITION_QUESTIONS = (
    "What is {a} + {b}?",
    "What is {a} plus {b}?",
    "{a}+{b}=",
    "{a} + {b} = ?",
    "{a} + {b}",
    "Add {a} and {b}.",
    "Add {a} to {b}.",
    "Work out {a} + {b}.",
    "Calculate {a} + {b}.",
    "Compute {a} plus {b}.",
    "Find the sum of {a} and {b}.",
    "What is the sum of {a} and {b}?",
    "How much is {a} + {b}?",
    "How much do {a} and {b} make together?",
    "What do you get when you add {a} and {b}?",
    "Please add up {a} and {b}.",
    "What's {a}+{b}?",
    "Tell me {a} plus {b}.",
    "Which number is {b} more than {a}?",
    "Solve: {a} + {b}",
)
SUBTRACTION_QUESTIONS = (
    "What is {a} - {b}?",
    "What is {a} minus {b}?",
    "{a}-{b}=",
    "{a} - {b} = ?",
    "{a} - {b}",
    "Subtract {b} from {a}.",
    "Take {b} away from {a}.",
    "Work out {a} - {b}.",
    "Calculate {a} - {b}.",
    "Compute {a} minus {b}.",
    "What is left of {a} when you take away {b}?",
    "How much is {a} - {b}?",
    "What do you get when you subtract {b} from {a}?",
    "Which number is {b} less than {a}?",
    "What's {a}-{b}?",
    "Tell me {a} minus {b}.",
    "Please work out {a} less {b}.",
    "Solve: {a} - {b}",
    "Find {a} - {b}.",
)
_LENGTH_WEIGHTS = (1, 4, 5, 2)
"""How often a number has one, two, three and four digits."""


def draw_addition(rng: random.Random) -> Problem:
    """Two numbers to add."""
    return _addition(rng, draw_number(rng), draw_number(rng))


def draw_subtraction(rng: random.Random) -> Problem:
    """Two numbers to subtract, the larger first in three problems of four."""
    a, b = draw_number(rng), draw_number(rng)
    return _subtraction(rng, *((max(a, b), min(a, b)) if rng.random() < 0.5 else (a, b)))


def draw_two_or_three_digit_sum(rng: random.Random) -> Problem:
    """A sum or a difference of two numbers of two or three digits: the part of the others that is reported by itself.

    Its keys are theirs, so that its test problems are no training problems of theirs.
    """
    a, b = rng.choice((2, 3)), rng.choice((2, 3))
    draw = rng.choice((_addition, _subtraction))
    return draw(rng, number_of_length(rng, a), number_of_length(rng, b))


def draw_small_sum(rng: random.Random) -> Problem:
    """A sum or a difference of two numbers up to 20: the others hardly ever draw one, and people try them first."""
    draw = rng.choice((_addition, _subtraction))
    return draw(rng, rng.randint(0, 20), rng.randint(0, 20))


def draw_number(rng: random.Random) -> int:
    """A number of one to four digits, mostly two or three."""
    return number_of_length(rng, rng.choices((1, 2, 3, 4), _LENGTH_WEIGHTS)[0])


def number_of_length(rng: random.Random, digits: int) -> int:
    """A number of so many digits; 0 counts as a digit by itself."""
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def _addition(rng: random.Random, a: int, b: int) -> Problem:
    worked = add(a, b)
    return Problem(
        key=f"{min(a, b)}+{max(a, b)}" if max(a, b) > 9 else "",
        question=rng.choice(ADDITION_QUESTIONS).format(a=a, b=b),
        thinking=worked.text,
        answer=str(worked.result),
    )


def _subtraction(rng: random.Random, a: int, b: int) -> Problem:
    worked = subtract(a, b)
    return Problem(
        key=f"{a}-{b}" if max(a, b) > 9 else "",
        question=rng.choice(SUBTRACTION_QUESTIONS).format(a=a, b=b),
        thinking=worked.text,
        answer=str(worked.result),
    )
