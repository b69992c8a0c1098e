"""Numbers: sums worked as the arithmetic tasks work them, and lists of numbers filtered and sorted."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from fulmen.tasks.arithmetic.expressions import reduce_expression
from fulmen.tasks.gym.task import Solution
from fulmen.tasks.working import add, divide, multiply, subtract

LEGS = {
    0: ("snake", "sea slug", "jellyfish", "flatworm", "leech"),
    2: ("chicken", "bird", "human", "duck"),
    4: ("dog", "cat", "cow", "horse", "lion", "elephant", "giraffe", "tiger", "deer", "sheep"),
    5: ("starfish",),
    6: (
        "insect", "ant", "butterfly", "beetle", "bee", "wasp", "grasshopper", "cricket", "cockroach", "praying mantis",
        "firefly",
    ),
    8: ("spider", "scorpion"),
    10: ("crab", "lobster", "shrimp"),
    14: ("woodlouse",),
}  # fmt: skip
_LEGS_OF = {animal: legs for legs, animals in LEGS.items() for animal in animals}


def solve_leg_counting(entry: Mapping[str, Any]) -> Solution:
    """Legs of each kind as a fact (there are few), then the total so far."""
    total, lines = 0, []
    for animal, number in entry["metadata"]["animals"].items():
        legs = number * _LEGS_OF[animal]
        lines.append(f"{animal}:{number}*{_LEGS_OF[animal]}={legs}")
        if total and legs:
            lines.append(add(total, legs).text)
        total += legs
    return Solution(thinking="\n".join(lines), answer=str(total))


def solve_chain_sum(entry: Mapping[str, Any]) -> Solution:
    """One operation after the other."""
    lines, value = reduce_expression(entry["metadata"]["expression"].replace(" ", ""))
    return Solution(thinking="\n".join(lines), answer=str(value))


def solve_products(entry: Mapping[str, Any]) -> Solution:
    """The product of two numbers, row by row."""
    left, right = map(int, entry["metadata"]["expression"].split(" * "))
    worked = multiply(left, right)
    return Solution(thinking=worked.text, answer=str(worked.result))


def solve_complex_arithmetic(entry: Mapping[str, Any]) -> Solution:
    """The real part, then the imaginary one; of a product the four products of parts first."""
    meta = entry["metadata"]
    (a, b), (c, d) = (map(int, meta[number]) for number in ("num1", "num2"))
    lines = []
    if meta["operation"] == "*":
        products = [multiply(*factors) for factors in ((a, c), (b, d), (a, d), (b, c))]
        lines = [product.text for product in products]
        rr, ii, ri, ir = (product.result for product in products)
        real, imaginary = subtract(rr, ii), add(ri, ir)
    else:
        work = add if meta["operation"] == "+" else subtract
        real, imaginary = work(a, c), work(b, d)
    lines += [f"real {real.text}", f"imaginary {imaginary.text}"]
    sign = "-" if imaginary.result < 0 else "+"
    return Solution(thinking="\n".join(lines), answer=f"{real.result}.0 {sign} {abs(imaginary.result)}.0i")


def solve_simple_geometry(entry: Mapping[str, Any]) -> Solution:
    """The sum of all angles, less the known ones, one by one."""
    sides, known = entry["metadata"]["n_sides"], [int(angle) for angle in entry["metadata"]["known_angles"]]
    left = 180 * (sides - 2)
    lines = [f"{sides}-2={sides - 2}", f"180*{sides - 2}={left}"]
    for angle in known:
        worked = subtract(left, angle)
        left = worked.result
        lines.append(worked.text)
    return Solution(thinking="\n".join(lines), answer=str(left))


def solve_gcd(entry: Mapping[str, Any]) -> Solution:
    """Euclid: how often the smaller goes into the larger, that product, what is left, until nothing is."""
    larger, smaller = sorted(entry["metadata"]["numbers"], reverse=True)
    lines = []
    while smaller:
        quotient, remainder = divmod(larger, smaller)
        product = multiply(smaller, quotient)
        lines.append(f"{larger}/{smaller}:{quotient};{product.text};{subtract(larger, product.result).text}")
        larger, smaller = smaller, remainder
    return Solution(thinking="\n".join(lines), answer=str(larger))


def solve_prime_factorization(entry: Mapping[str, Any]) -> Solution:
    """Smallest primes first; each trial is a division, and what it leaves is tried on."""
    left, lines, factors, prime = entry["metadata"]["number"], [], list[int](), 2
    while prime * prime <= left:
        lines.append(divide(left, prime).text)
        if left % prime:
            prime = next(n for n in range(prime + 1, 2 * prime) if all(n % d for d in range(2, n)))
        else:
            factors.append(prime)
            left //= prime
    lines.append(f"{left} is prime")
    return Solution(thinking="\n".join(lines), answer=" \u00d7 ".join(map(str, [*factors, left])))


def solve_number_filtering(entry: Mapping[str, Any]) -> Solution:
    """Each number with the sign that says how it compares, and whether it stays."""
    meta = entry["metadata"]
    limit, action = Decimal(meta["filter_value"]), meta["operation"]
    keeps = {"remove_larger": "<=", "remove_smaller": ">=", "keep_larger": ">", "keep_smaller": "<"}[action]
    steps, kept = [], []
    for number in meta["original_numbers"]:
        sign = "=<>"[(Decimal(number) < limit) + 2 * (Decimal(number) > limit)]
        steps.append(f"{number}{sign} {'keep' if sign in keeps else 'drop'}")
        if sign in keeps:
            kept.append(number)
    return Solution(thinking=f"limit {limit}\n" + "\n".join(steps), answer=str(kept))


def solve_number_sorting(entry: Mapping[str, Any]) -> Solution:
    """Negative numbers and the others apart, each group in order."""
    meta = entry["metadata"]
    numbers, descending = meta["original_numbers"], meta["direction"] == "descending"
    ordered = sorted(numbers, key=Decimal, reverse=descending)
    lines = []
    for name, members in (
        ("negative", [number for number in numbers if number.startswith("-")]),
        ("positive", [number for number in numbers if not number.startswith("-")]),
    ):
        lines.append(f"{name}: {' '.join(members) or 'none'}")
    if descending:
        lines.reverse()
    return Solution(thinking="\n".join(lines), answer=str(ordered))
