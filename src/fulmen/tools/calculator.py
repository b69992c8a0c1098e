"""The calculator: one safe evaluator of arithmetic, for the tool and for the task that models are trained on.

Numbers are exact fractions as long as they can be; Python's own parser reads the expression, and only what stands in
the tables here is ever computed. No digits without end: what would grow too large is refused.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from fulmen.chat.message import ToolSpec
from fulmen.tools.tool import Tool, ToolError

CALCULATOR = ToolSpec(
    name="calculator",
    description="Evaluate an arithmetic expression.",
    parameters={"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
)
Number = Fraction | float

_MAX_LENGTH = 2000
_MAX_BITS = 4096  # of a numerator or denominator: 1,200 digits
_NOISE = 1e-15  # what sin(pi) is away from 0
_SPELLINGS = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-", "^": "**"})
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}
_ONE: Mapping[str, Callable[[float], float]] = {
    "exp": math.exp, "ln": math.log, "log10": math.log10, "log2": math.log2, "sin": math.sin, "cos": math.cos,
    "tan": math.tan, "asin": math.asin, "acos": math.acos, "atan": math.atan, "degrees": math.degrees,
    "radians": math.radians,
}  # fmt: skip


def calculator() -> Tool:
    """The evaluator as a tool; a call answers `{"result": 14}`."""

    async def run(arguments: Mapping[str, Any]) -> object:
        try:
            return {"result": evaluate(arguments["expression"])}
        except ValueError as error:
            raise ToolError(str(error)) from None

    return Tool(name=CALCULATOR.name, description=CALCULATOR.description, parameters=CALCULATOR.parameters, run=run)


def evaluate(expression: str) -> int | float:
    """Evaluate an expression: numbers, + - * / // % **, parentheses, pi, e, and functions such as sqrt and log10.

    Returns:
        An int if the result is whole, else a float rounded to four decimals, or to four digits below 0.001.

    Example: `evaluate("2 + 3 * 4")` is 14, `evaluate("10 / 4")` 2.5, `evaluate("2 / 3")` 0.6667.

    Raises:
        ValueError: it is no arithmetic, has no value, or one too large; the message says which and where.
    """
    text = expression.translate(_SPELLINGS).strip().rstrip(" =?")
    if not text:
        raise ValueError("the expression is empty")
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"the expression has {len(text)} characters; at most {_MAX_LENGTH} are read")
    try:
        return _rounded(_value(ast.parse(text, mode="eval").body))
    except SyntaxError as error:
        raise ValueError(
            f"{text!r:.200} is no arithmetic: {error.msg} at character {error.offset or len(text)}"
        ) from None
    except ZeroDivisionError:
        raise ValueError(f"{text!r:.200} divides by zero") from None
    except OverflowError:
        raise ValueError(f"the value of {text!r:.200} is too large") from None
    except (RecursionError, MemoryError):
        raise ValueError("the expression is nested too deep") from None


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=bool()):
            raise ValueError(f"{ast.unparse(node)} is no number")
        case ast.Constant(value=int(number)):
            return _checked(Fraction(number))
        case ast.Constant(value=float(number)):
            return _checked(Fraction(repr(number))) if math.isfinite(number) else _too_large()
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            return -_value(operand) if isinstance(sign, ast.USub) else _value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _checked(_OPERATORS[type(sign)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _called(name, [_value(argument) for argument in arguments])
        case ast.Tuple():
            raise ValueError("numbers are written without commas: 1000 and not 1,000")
    known = ", ".join([*_CONSTANTS, *_FUNCTIONS])
    raise ValueError(f"{ast.unparse(node)!r:.200} can't be evaluated; known are + - * / // % ** ( ) and {known}")


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: operator.mod,
}


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if base in (0, 1, -1) or bits * abs(exponent.numerator) <= _MAX_BITS:
            return Fraction(base**exponent.numerator)
        return float(base) ** exponent.numerator
    if base < 0 and exponent % 1:
        raise ValueError("a negative number has no power with a fraction as its exponent")
    return float(base) ** float(exponent)


def _called(name: str, arguments: list[Number]) -> Number:
    try:
        if name in _ONE:
            (argument,) = arguments
            return _ONE[name](float(argument))
        return _checked(_FUNCTIONS[name](*arguments))
    except TypeError:
        raise ValueError(f"{name} does not take {len(arguments)} arguments") from None
    except ValueError as error:
        if "unpack" in str(error):
            raise ValueError(f"{name} takes one argument, not {len(arguments)}") from None
        raise ValueError(f"{name} has no value there: {error}") from None


def _square_root(number: Number) -> Number:
    if isinstance(number, Fraction) and number >= 0:
        above, below = math.isqrt(number.numerator), math.isqrt(number.denominator)
        if (above * above, below * below) == (number.numerator, number.denominator):
            return Fraction(above, below)
    return math.sqrt(number)


def _logarithm(number: Number, base: Number | None = None) -> Number:
    return math.log(number) if base is None else math.log(number, base)


def _rounded_to(number: Number, digits: Number = Fraction(0)) -> Number:
    if isinstance(digits, float) or digits.denominator != 1 or abs(digits) > 100:
        raise ValueError("the digits must be a whole number up to 100")
    return Fraction(round(Fraction(number), int(digits)))


def _factorial(number: Number) -> Number:
    if number < 0 or number != int(number):
        raise ValueError("the number must be whole and not negative")
    return Fraction(math.factorial(int(number))) if number <= 400 else _too_large()


_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "sqrt": _square_root,
    "abs": abs,
    "round": _rounded_to,
    "floor": lambda number: Fraction(math.floor(number)),
    "ceil": lambda number: Fraction(math.ceil(number)),
    "min": lambda *numbers: min(numbers),
    "max": lambda *numbers: max(numbers),
    "log": _logarithm,
    "factorial": _factorial,
    **_ONE,
}


def _checked(number: Number) -> Number:
    if isinstance(number, Fraction) and max(number.numerator.bit_length(), number.denominator.bit_length()) > _MAX_BITS:
        return float(number)  # OverflowError where not even a float is large enough
    return number


def _too_large() -> Number:
    raise OverflowError


def _rounded(number: Number) -> int | float:
    if isinstance(number, Fraction) and number.denominator == 1:
        return number.numerator
    value = float(number)
    if isinstance(number, float) and abs(value) < _NOISE:
        return 0
    if not math.isfinite(value):
        return _rounded(_too_large())
    if value.is_integer() and abs(value) < 2**53:
        return int(value)
    return round(value, 4) if abs(value) >= 0.001 else float(f"{value:.4g}")
