"""Reads worked sums back, step by step, by other means than those that wrote them."""

import re

_EQUALITY = re.compile(r"[-+*/()\d]+(?:=[-+*/()\d]+)+")


def value_of(expression: str) -> int:
    """What Python makes of an expression of integers, leading zeros allowed."""
    return eval(re.sub(r"\b0+(?=\d)", "", expression).replace("/", "//"))  # our own text, of digits and signs


def check_steps(thinking: str) -> int:
    """Assert that every equality and every comparison in a trace holds; returns how many there were."""
    checked = 0
    for clause in re.split(r"[;:,\n]|(?<=\d)r\d+", thinking):
        if _EQUALITY.fullmatch(clause):
            values = [value_of(side) for side in clause.split("=")]
            assert len(set(values)) == 1, clause
            checked += 1
        elif match := re.fullmatch(r"(\d+)([<>])(\d+)", clause):
            assert (int(match[1]) < int(match[3])) == (match[2] == "<"), clause
            checked += 1
    return checked
