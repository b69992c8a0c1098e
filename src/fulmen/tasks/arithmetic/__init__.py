"""Arithmetic with whole numbers, worked digit by digit."""

from fulmen.tasks.arithmetic.comparison import draw_comparison
from fulmen.tasks.arithmetic.expressions import draw_chain, draw_expression
from fulmen.tasks.arithmetic.products import draw_division, draw_multiplication
from fulmen.tasks.arithmetic.sums import draw_addition, draw_small_sum, draw_subtraction, draw_two_or_three_digit_sum
from fulmen.tasks.problem import ProblemTask

_DRAWS = {
    "addition": draw_addition,
    "subtraction": draw_subtraction,
    "small_sums": draw_small_sum,
    "two_or_three_digit_sums": draw_two_or_three_digit_sum,
    "multiplication": draw_multiplication,
    "division": draw_division,
    "comparison": draw_comparison,
    "chained_sums": draw_chain,
    "expressions": draw_expression,
}

TASKS = {name: lambda name=name, draw=draw: ProblemTask(name=name, draw=draw) for name, draw in _DRAWS.items()}
"""Names to constructors."""
