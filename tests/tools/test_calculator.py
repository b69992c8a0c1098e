"""The calculator computes what stands there, and nothing else."""

import math
from fractions import Fraction

import pytest
from calling import answer
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.tools.calculator import CALCULATOR, calculator, evaluate
from fulmen.tools.registry import ToolRegistry


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("10 / 4", 2.5),
        ("2 / 3", 0.6667),
        ("7 // 2", 3),
        ("-7 % 3", 2),
        ("2 ** 10", 1024),
        ("2^-1", 0.5),
        ("(-pi) ** 2", 9.8696),
        ("0.1 + 0.2", 0.3),
        ("1e3 * 2", 2000),
        ("7 / 99999", 7e-05),
        ("123456789 * 987654321", 121932631112635269),
        ("\u2212 3 \u00d7 4 \u00f7 6", -2),
        ("12 * 3 =", 36),
        ("sqrt(16) + abs(-2)", 6),
        ("sqrt(2)", 1.4142),
        ("round(2.567, 1)", 2.6),
        ("max(1, 5, 3) - min(2, 4)", 3),
        ("log(8, 2)", 3),
        ("sin(pi)", 0),
        ("factorial(20)", 2432902008176640000),
        ("10 ** 100 / 10 ** 98", 100),
    ],
)
def test_values(expression, value):
    result = evaluate(expression)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "empty"),
        ("2 +", "no arithmetic"),
        ("two plus two", "no arithmetic"),
        ("x + 1", "'x' can't be evaluated; known are"),
        ("1,000 + 2", "without commas"),
        ("1 / (2 - 2)", "divides by zero"),
        ("9 ** 9 ** 9 ** 9", "too large"),
        ("factorial(100000)", "too large"),
        ("exp(10000)", "too large"),
        ("1e999", "too large"),
        ("(-8) ** 0.5", "no power"),
        ("sqrt(-1)", "sqrt has no value"),
        ("sqrt()", "sqrt"),
        ("sin(1, 2)", "sin takes one argument"),
        ("3j", "can't be evaluated"),
        ("True + 1", "no number"),
        ("'a' * 3", "can't be evaluated"),
        ("[1, 2]", "can't be evaluated"),
        ("__import__('os').system('true')", "can't be evaluated"),
        ("(1).__class__", "can't be evaluated"),
        ("(lambda: 1)()", "can't be evaluated"),
        ("abs(x=1)", "can't be evaluated"),
        ("1" * 3000, "at most 2000"),
        ("(" * 900 + "1" + ")" * 900, "nested too deep|no arithmetic"),
        ("-" * 1999 + "1", "nested too deep"),
        ("1\0", "."),
    ],
)
def test_what_is_no_arithmetic(expression, message):
    with pytest.raises(ValueError, match=message):
        evaluate(expression)


numbers = st.integers(0, 10**6).map(str)
expressions = st.recursive(
    numbers, lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(expressions)
def test_whole_numbers_as_python_computes_them(expression):
    assert evaluate(expression) == eval(expression)  # digits, signs and parentheses only


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_quotients_are_near(a, b):
    result = evaluate(f"{a} / {b}")
    assert math.isclose(result, Fraction(a, b), rel_tol=1e-3, abs_tol=5.1e-5)
    assert (result == 0) == (a == 0)


def test_as_a_tool():
    registry = ToolRegistry([calculator()])
    assert registry.specs() == (CALCULATOR,)
    assert answer(registry, "calculator", {"expression": "6 * 7"}).content == '{"result": 42}'
    result = answer(registry, "calculator", {"expression": "6 *"})
    assert result.failed
    assert result.content.startswith("Error: '6 *' is no arithmetic")
