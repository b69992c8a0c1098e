"""Written-out sums: how the demonstrations of every task add, subtract, multiply, divide and compare.

A small model learns a sum when each step looks at few digits, always in the same form, and when the result can be
copied at the end. So operands are padded to one length, each step writes its carry at a fixed place, and the result
grows digit by digit until it stands there whole, most significant digit first. There are no spaces, so that every
digit is a token of its own under any tokenizer that keeps digits single. Sums of single digits are facts: `7+5=12`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Worked:
    """A sum that was carried out, step by step.

    Example: `add(47, 85)` is `Worked(text="47+85:7+5+0=12,2;4+8+1=13,132;=132", result=132)`.
    """

    text: str
    """Ends in `=` and the result."""
    result: int


def add(a: int, b: int) -> Worked:
    """Add: each step is digit + digit + carry in two digits, then the result so far. Signs are settled first.

    Example: `add(-33, 57)` is the text of `subtract(57, 33)` after `-33+57=`.
    """
    if a >= 0 and b >= 0:
        return _added(a, b)
    if a < 0 and b < 0:
        return _negated(f"{a}+{b}=", _added(-a, -b))
    return _rewritten(f"{a}+{b}=", subtract(a, -b) if a >= 0 else subtract(b, -a))


def subtract(a: int, b: int) -> Worked:
    """Subtract: first compare, so that the smaller is taken from the larger, then digit - digit - borrow.

    A step's result is a digit, less 10 where the next step borrows.

    Example: `subtract(52, 87).text` is `52-87:5<8;-(87-52):7-2-0=5-00,5;8-5-0=3-00,35;=-35`.
    """
    if a >= 0 and b >= 0:
        return _subtracted(a, b)
    if b < 0 <= a:
        return _rewritten(f"{a}-{b}=", _added(a, -b))
    if a < 0 <= b:
        return _negated(f"{a}-{b}=", _added(-a, b))
    return _rewritten(f"{a}-{b}=", subtract(-b, -a))


def multiply(a: int, b: int) -> Worked:
    """Multiply: one row for each digit of the shorter factor, and the rows added up.

    Example: `multiply(47, 6).text` is `47*6:7*6=42,42+0=42,2;4*6=24,24+4=28,282;=282`.
    """
    if a < 0 or b < 0:
        shorter, longer = sorted((abs(a), abs(b)))
        product = multiply(longer, shorter)
        joined = f"{a}*{b}="
        return _negated(joined, product) if (a < 0) != (b < 0) else _rewritten(joined, product)
    if len(str(b)) > len(str(a)):
        return _rewritten(f"{a}*{b}=", multiply(b, a))
    if b < 10:
        return _row(a, b)
    steps, total = [f"{a}*{b}:"], 0
    for place, digit in enumerate(map(int, reversed(str(b)))):
        if digit == 0:
            continue
        row = _row(a, digit)
        shifted = row.result * 10**place
        steps.append(f"{row.text};")
        if total:
            steps.append(f"{_added(shifted, total).text};")
        total += shifted
    return Worked(text=f"{''.join(steps)}={total}", result=total)


def divide(a: int, b: int) -> Worked:
    """Divide with remainder: bring down digit after digit; each step is how often, that product, what is left.

    The result is the quotient; the text ends in it, and in `r` and the remainder where there is one.

    Example: `divide(347, 6).text` is `347/6:34:5*6=30,34-30=4,5;47:7*6=42,47-42=5,57;=57r5`.
    """
    if a < 0 or b <= 0:
        raise ValueError(f"{a} / {b}: only a number from 0 up can be divided, by one from 1 up")
    quotient, remainder = divmod(a, b)
    if b == 1 or a < b:
        return Worked(text=f"{a}/{b}={_with_remainder(quotient, remainder)}", result=quotient)
    digits = str(a)
    length = next(n for n in range(1, len(digits) + 1) if int(digits[:n]) >= b)
    steps, left, so_far = [], int(digits[: length - 1] or 0), ""
    for digit in digits[length - 1 :]:
        part = 10 * left + int(digit)
        times = part // b
        left = part - times * b
        so_far += str(times)
        steps.append(f"{part}:{times}*{b}={times * b},{part}-{times * b}={left},{so_far};")
    return Worked(text=f"{a}/{b}:{''.join(steps)}={_with_remainder(quotient, remainder)}", result=quotient)


def compare(a: int, b: int) -> str:
    """Compare two numbers from 0 up, from their first digits to the first that differ: `3=3,4<7` for 347 and 371."""
    left, right = _padded(a, b)
    steps = []
    for x, y in zip(left, right, strict=True):
        steps.append(f"{x}{'=<>'[(x < y) + 2 * (x > y)]}{y}")
        if x != y:
            break
    return ",".join(steps)


def _added(a: int, b: int) -> Worked:
    """Sum of two numbers from 0 up."""
    total = a + b
    if a < 10 and b < 10:
        return Worked(text=f"{a}+{b}={total}", result=total)
    left, right = _padded(a, b)
    steps, carry, so_far = [], 0, ""
    for x, y in zip(map(int, reversed(left)), map(int, reversed(right)), strict=True):
        sum_here = x + y + carry
        last = len(so_far) + 1 == len(left)
        so_far = f"{sum_here if last else sum_here % 10}{so_far}"
        steps.append(f"{x}+{y}+{carry}={sum_here:02},{so_far};")
        carry = sum_here // 10
    return Worked(text=f"{left}+{right}:{''.join(steps)}={total}", result=total)


def _subtracted(a: int, b: int) -> Worked:
    """Difference of two numbers from 0 up."""
    if a < 10 and b < 10:
        return Worked(text=f"{a}-{b}={a - b}", result=a - b)
    left, right = _padded(a, b)
    heading = f"{left}-{right}:{compare(a, b)};"
    if a == b:
        return Worked(text=f"{heading}=0", result=0)
    if a < b:
        heading, left, right = f"{heading}-({right}-{left}):", right, left
    steps, borrow, so_far = [], 0, ""
    for x, y in zip(map(int, reversed(left)), map(int, reversed(right)), strict=True):
        here = x - y - borrow
        steps.append(f"{x}-{y}-{borrow}={here % 10}-{'10' if here < 0 else '00'},{here % 10}{so_far};")
        so_far = f"{here % 10}{so_far}"
        borrow = int(here < 0)
    return Worked(text=f"{heading}{''.join(steps)}={a - b}", result=a - b)


def _row(a: int, digit: int) -> Worked:
    """Product of a number from 0 up and one digit."""
    product = a * digit
    if a < 10 or digit < 2:
        return Worked(text=f"{a}*{digit}={product}", result=product)
    steps, carry, so_far = [], 0, ""
    for x in map(int, reversed(str(a))):
        here = x * digit + carry
        last = len(so_far) + 1 == len(str(a))
        so_far = f"{here if last else here % 10}{so_far}"
        steps.append(f"{x}*{digit}={x * digit:02},{x * digit:02}+{carry}={here:02},{so_far};")
        carry = here // 10
    return Worked(text=f"{a}*{digit}:{''.join(steps)}={product}", result=product)


def _rewritten(before: str, worked: Worked) -> Worked:
    return Worked(text=before + worked.text, result=worked.result)


def _negated(before: str, worked: Worked) -> Worked:
    """`-(33+57):...;=-90` from the sum without its sign."""
    at = worked.text.index(":") if ":" in worked.text else worked.text.index("=")
    steps, end = worked.text[at:], worked.text.rindex("=") - at
    return Worked(text=f"{before}-({worked.text[:at]}){steps[:end]}={-worked.result}", result=-worked.result)


def _padded(a: int, b: int) -> tuple[str, str]:
    """Both numbers in as many digits as the longer has."""
    width = max(len(str(a)), len(str(b)))
    return f"{a:0{width}}", f"{b:0{width}}"


def _with_remainder(quotient: int, remainder: int) -> str:
    return f"{quotient}r{remainder}" if remainder else str(quotient)
