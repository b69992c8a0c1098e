"""The calculator: a sum in words or signs becomes a call with an expression, and its result the answer."""

import json
import random
from collections.abc import Iterator

from fulmen.chat.message import Message, ToolSpec
from fulmen.tasks.calls.call_task import score_calls
from fulmen.tasks.calls.cases import Turn, conversation
from fulmen.tasks.calls.requests import Request, beginning
from fulmen.tasks.calls.results import Outcome, after_result, score_outcome
from fulmen.tasks.calls.situation import Offer, draw_tools
from fulmen.tasks.calls.tools import InventedTool
from fulmen.tasks.lexicon import random_source, split_of
from fulmen.tasks.task import Example, Score, Split
from fulmen.tools.calculator import CALCULATOR, evaluate

_SPOKEN = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
_REQUESTS = (
    "What is {}?", "Calculate {}.", "How much is {}?", "Compute {}, please.", "{} = ?", "Use the calculator: {}",
    "I need the result of {}.", "Work out {}.",
)  # fmt: skip


class CalculatorTask:
    """Sums of two or three numbers with a calculator at hand: half of the examples end with its call, half go on to
    the answer. The splits share no expression.
    """

    name = "calculator"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            others = [tool for tool in draw_tools(rng, split)[0] if tool.purpose != "arithmetic"]
            tools: list[ToolSpec | InventedTool] = [CALCULATOR, *others[: rng.randint(0, 2)]]
            offer = Offer.of(rng.sample(tools, len(tools)))
            yield conversation([sum_turn(rng, split, offer)], offer)

    def score(self, example: Example, reply: Message) -> Score:
        """1 for the call with the expression sign by sign, and after it for the result."""
        return (score_calls if "calls" in example.reference else score_outcome)(example, reply)


def sum_turn(rng: random.Random, split: Split, offer: Offer) -> Turn:
    """A sum that wants the call of the calculator, or has had it and wants the answer."""
    while True:
        numbers, signs = _draw_sum(rng)
        expression = _written(numbers, signs)
        if split_of(expression) == split:
            break
    spoken = _written(numbers, [_SPOKEN[sign] for sign in signs]) if rng.random() < 0.4 else expression
    text = rng.choice(_REQUESTS).format(spoken)
    request = Request(text=text, deed=beginning(text), phrases={"expression": spoken})
    turn = Turn.calling(text, [offer.planned(CALCULATOR.name, {"expression": expression}, request)])
    return turn if rng.random() < 0.5 else after_result(text, turn.reply, _outcome(rng, expression))


def _draw_sum(rng: random.Random) -> tuple[list[int], list[str]]:
    count = rng.choice((2, 2, 3))
    numbers = [rng.randint(2, rng.choice((20, 999, 99999))) for _ in range(count)]
    return numbers, [rng.choice("+-*/") for _ in range(count - 1)]


def _written(numbers: list[int], signs: list[str]) -> str:
    return " ".join([str(numbers[0]), *(f"{sign} {number}" for sign, number in zip(signs, numbers[1:], strict=True))])


def _outcome(rng: random.Random, expression: str) -> Outcome:
    value = str(evaluate(expression))
    result = rng.choice((json.dumps({"result": json.loads(value)}), value, f"{expression} = {value}"))
    return Outcome(
        question="",
        result=result,
        thinking=f"result: {value}",
        reply=f"The result is {value}.",
        phrase=value,
    )
