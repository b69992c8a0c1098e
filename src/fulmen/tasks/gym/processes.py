"""Things that go on step by step: strings that alternate, parts that combine, clocks."""

import re
from collections.abc import Mapping
from typing import Any

from fulmen.tasks.gym.task import Solution
from fulmen.tasks.working import add, subtract


def solve_binary_alternation(entry: Mapping[str, Any]) -> Solution:
    """Every other digit with the ones and zeros so far, then the rest; each digit on the wrong side costs a swap."""
    string = entry["metadata"]["string"]
    lines, counts = [], []
    for name, digits in (("first", string[::2]), ("second", string[1::2])):
        ones, steps = 0, []
        for number, digit in enumerate(digits, start=1):
            ones += digit == "1"
            steps.append(f"{digit}:{ones},{number - ones}")
        counts.append((ones, len(digits) - ones))
        lines.append(f"{name} {' '.join(steps)}")
    (ones, zeros), (other_ones, other_zeros) = counts
    all_ones, all_zeros = ones + other_ones, zeros + other_zeros
    lines.append(f"ones {ones}+{other_ones}={all_ones}\nzeros {zeros}+{other_zeros}={all_zeros}")
    if abs(all_ones - all_zeros) > 1:
        return Solution(thinking="\n".join([*lines, "too uneven"]), answer="-1")
    if all_ones == all_zeros:
        lines.append(f"smaller of {ones},{zeros}")
        return Solution(thinking="\n".join(lines), answer=str(min(ones, zeros)))
    first, wrong = ("1", zeros) if all_ones > all_zeros else ("0", ones)
    return Solution(thinking="\n".join([*lines, f"starts with {first}"]), answer=str(wrong))


def solve_rules(entry: Mapping[str, Any]) -> Solution:
    """All counts after every rule that applies: of the machines and parts, or of the blocks."""
    states = [" ".join(map(str, state)) for state in entry["metadata"]["states"]]
    return Solution(thinking="\n".join(states), answer=states[-1])


def solve_time_intervals(entry: Mapping[str, Any]) -> Solution:
    """From the smallest unit to the hours, with a borrow of 60; midnight after a day counts as hour 0."""
    start, end = (list(map(int, time.split(":"))) for time in re.findall(r"\d\d(?::\d\d)+", entry["question"])[:2])
    lines, parts, borrowed = [], [], False
    for name, early, late in reversed(list(zip(("hours", "minutes", "seconds"), start, end, strict=False))):
        steps = [f"{name} {early} to {late}"]
        if borrowed:
            steps.append(add(early, 1).text)
            early += 1
        borrowed = late < early and name != "hours"
        if borrowed:
            steps.append(f"{late}<{early};{add(late, 60).text}")
            late += 60
        worked = subtract(late, early)
        parts.append(f"{worked.result:02}")
        lines.append(";".join([*steps, worked.text]))
    return Solution(thinking="\n".join(lines), answer=":".join(reversed(parts)))
