"""Multiplication, and division with or without a remainder."""

import random

from fulmen.tasks.arithmetic.sums import number_of_length
from fulmen.tasks.problem import Problem
from fulmen.tasks.working import divide, multiply

MULTIPLICATION_QUESTIONS = (
    "What is {a} * {b}?",
    "What is {a} times {b}?",
    "{a}*{b}=",
    "{a} * {b} = ?",
    "{a} x {b} = ?",
    "Multiply {a} by {b}.",
    "Multiply {a} and {b}.",
    "Work out {a} * {b}.",
    "Calculate {a} times {b}.",
    "Compute {a} * {b}.",
    "Find the product of {a} and {b}.",
    "What is the product of {a} and {b}?",
    "How much is {a} x {b}?",
    "How much is {a} times {b}?",
    "What do you get when you multiply {a} by {b}?",
    "What's {a}*{b}?",
    "Tell me {a} times {b}.",
)
DIVISION_QUESTIONS = (
    "Divide {a} by {b}. Give the quotient and the remainder.",
    "What is {a} divided by {b}, with remainder?",
    "{a} / {b} with remainder = ?",
    "Work out {a} / {b} with its remainder.",
    "Calculate the quotient and the remainder of {a} divided by {b}.",
    "Find the quotient and remainder when {a} is divided by {b}.",
    "How often does {b} go into {a}, and what is left over?",
    "Do the division {a} : {b} with remainder.",
)
QUOTIENT_QUESTIONS = (
    "What is {a} / {b}?",
    "What is {a} divided by {b}?",
    "{a}/{b}=",
    "{a} / {b} = ?",
    "Divide {a} by {b}.",
    "Work out {a} / {b}.",
    "Calculate {a} divided by {b}.",
    "How much is {a} / {b}?",
)
REMAINDER_QUESTIONS = (
    "What is the remainder when {a} is divided by {b}?",
    "What is {a} mod {b}?",
    "{a} mod {b} =",
    "What is left over when you divide {a} by {b}?",
    "Find the remainder of {a} / {b}.",
    "Give only the remainder of {a} divided by {b}.",
)


def draw_multiplication(rng: random.Random) -> Problem:
    """One to three digits by one digit, or two by two. Single digits belong to the training split."""
    lengths = rng.choices(((1, 1), (2, 1), (1, 2), (3, 1), (2, 2)), (1, 3, 2, 2, 4))[0]
    a, b = (number_of_length(rng, length) for length in lengths)
    worked = multiply(a, b)
    return Problem(
        key=f"{min(a, b)}*{max(a, b)}" if max(a, b) > 9 else "",
        question=rng.choice(MULTIPLICATION_QUESTIONS).format(a=a, b=b),
        thinking=worked.text,
        answer=str(worked.result),
    )


def draw_division(rng: random.Random) -> Problem:
    """One to four digits by one digit: quotient and remainder, only one of them, or a quotient without remainder.

    The key leaves out what is asked for: `347 mod 6` is the same problem as `347 / 6`.
    """
    b = rng.randint(2, 9)
    a = number_of_length(rng, rng.choices((1, 2, 3, 4), (1, 4, 4, 1))[0])
    kind = rng.choice(("both", "quotient", "remainder"))
    if kind == "quotient":
        a = a // b * b
    worked, remainder = divide(a, b), a % b
    questions, answer = {
        "both": (DIVISION_QUESTIONS, f"{worked.result} remainder {remainder}"),
        "quotient": (QUOTIENT_QUESTIONS, str(worked.result)),
        "remainder": (REMAINDER_QUESTIONS, str(remainder)),
    }[kind]
    return Problem(
        key=f"{a}/{b}" if a > 9 else "",
        question=rng.choice(questions).format(a=a, b=b),
        thinking=worked.text,
        answer=answer,
    )
