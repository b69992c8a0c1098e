"""Chained sums, and expressions with brackets: one operation a line, and what is left of the expression after it."""

import random
import re

from fulmen.tasks.arithmetic.sums import draw_number
from fulmen.tasks.problem import Problem
from fulmen.tasks.working import Worked, add, multiply, subtract

EXPRESSION_QUESTIONS = (
    "What is {e}?",
    "{e} =",
    "{e} = ?",
    "{e}",
    "Work out {e}.",
    "Calculate {e}.",
    "Compute {e}.",
    "Evaluate {e}.",
    "Evaluate the expression {e}.",
    "What is the value of {e}?",
    "Find the value of {e}.",
    "How much is {e}?",
    "What does {e} give?",
    "What's {e}?",
    "Solve: {e}",
    "Please work out {e} step by step.",
)
_BRACKETS = re.compile(r"\(([^()]+)\)")
_PRODUCT = re.compile(r"(?<!\d)(\d+)([*])(\d+)")
_SUM = re.compile(r"^(-?\d+)([+-])(-?\d+)")


def draw_chain(rng: random.Random) -> Problem:
    """Three or four numbers joined by plus and minus; at most three digits each, so that four stay short."""
    count = rng.choice((3, 3, 4))
    numbers = [draw_number(rng) % 1000 for _ in range(count)]
    signs = [rng.choice("++-") for _ in numbers[1:]]
    expression = str(numbers[0]) + "".join(f"{sign}{number}" for sign, number in zip(signs, numbers[1:], strict=True))
    return _expression(rng, expression)


def draw_expression(rng: random.Random) -> Problem:
    """Two or three operations with a product or brackets; what a product or bracket multiplies is small."""
    small = [rng.randint(2, 9) for _ in range(2)]
    two_digits = [rng.randint(2, 50) for _ in range(2)]
    high, low = max(two_digits), min(two_digits)
    three_digits = rng.randint(10, 300)
    form = rng.choice(
        (
            "({x}+{y})*{m}", "({x}-{y})*{m}", "{m}*({x}+{y})", "{m}*({x}-{y})", "{x}+{y}*{m}", "{z}-{y}*{m}",
            "{m}*{x}+{n}*{y}", "{m}*{x}-{n}*{y}", "({x}+{y})*{m}-{z}", "({x}-{y})*{m}+{z}", "{z}-({x}+{y})",
            "{z}-({x}-{y})", "{z}+{m}*({x}-{y})", "({x}+{m})-({y}-{n})", "({m}+{n})*{x}", "{z}-{m}*{n}",
            "{m}*{n}+{x}-{y}",
        )
    )  # fmt: skip
    return _expression(rng, form.format(x=high, y=low, z=three_digits, m=small[0], n=small[1]))


def reduce_expression(expression: str) -> tuple[list[str], int]:
    """Carry out an expression of integers, `+`, `-`, `*` and brackets without spaces: the lines, and the value.

    Innermost brackets come first, then products, then sums, each from the left.

    Example: `reduce_expression("(2+3)*4")` is `(["2+3=5", "5*4", "5*4=20"], 20)`.
    """
    lines: list[str] = []
    while not re.fullmatch(r"-?\d+", expression):
        expression, worked = _step(expression)
        lines.append(worked.text)
        if not re.fullmatch(r"-?\d+", expression):
            lines.append(expression)
    return lines, int(expression)


def _step(expression: str) -> tuple[str, Worked]:
    """The expression after its next operation, and that operation worked out."""
    bracket = _BRACKETS.search(expression)
    inner, start, end = expression, 0, len(expression)
    if bracket:
        inner, start, end = bracket[1], *bracket.span()
    match = _PRODUCT.search(inner) or _SUM.search(inner)
    if match is None:
        raise ValueError(f"{expression!r} is no expression of integers, +, -, * and brackets")
    worked = {"+": add, "-": subtract, "*": multiply}[match[2]](int(match[1]), int(match[3]))
    value = f"{inner[: match.start()]}{worked.result}{inner[match.end() :]}"
    if bracket and not re.fullmatch(r"-?\d+", value):
        value = f"({value})"
    return f"{expression[:start]}{value}{expression[end:]}", worked


def _expression(rng: random.Random, expression: str) -> Problem:
    lines, value = reduce_expression(expression)
    shown = expression if rng.random() < 0.3 else re.sub(r"([+*-])", r" \1 ", expression)
    return Problem(
        key=expression,
        question=rng.choice(EXPRESSION_QUESTIONS).format(e=shown),
        thinking="\n".join(lines),
        answer=str(value),
    )
