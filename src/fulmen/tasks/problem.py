"""Generated problems as tasks: a function draws one from a random stream, and the rest is the same for all.

The splits are told apart by a hash of the problem itself, not by the seed: whatever is drawn, no problem of the test
split is ever a problem of the training split.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fulmen.chat.message import Message
from fulmen.tasks.task import Example, Score, Split

HELD_OUT_SHARE = 10
"""One problem in so many belongs to the test split."""
_NUMBER = re.compile(r"(?<![\d.])-?\d+(?:,\d{3})*(?:\.\d+)?|-\d+(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One drawn problem.

    Example: `Problem(key="17+25", question="What is 25 + 17?", thinking="25+17:...;=42", answer="42")`.
    """

    key: str
    """What makes the problem the same as another, however it is worded; "" where there are so few of its kind (sums of
    single digits) that all belong to the training split."""
    question: str
    thinking: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemTask:
    """A task whose problems one function draws, and whose answers are numbers or one word.

    Example: `ProblemTask(name="addition", draw=draw_addition)`.
    """

    name: str
    draw: Callable[[random.Random], Problem]

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random.Random(f"{self.name} {split} {seed}")
        while True:
            problem = self.draw(rng)
            if split_of(problem.key) == split:
                yield Example(
                    messages=(Message(role="user", content=problem.question),),
                    reference=problem.answer,
                    demonstration=Message(role="assistant", thinking=problem.thinking, content=problem.answer),
                )

    def score(self, example: Example, reply: Message) -> Score:
        """1 where the last numbers (or the last word) of the reply are those of the answer, else 0."""
        return score_answer(str(example.reference), reply.content)


def split_of(key: str) -> Split:
    """The split to which a problem belongs; an empty key belongs to the training split."""
    if not key:
        return "train"
    return "test" if int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % HELD_OUT_SHARE == 0 else "train"


def score_answer(expected: str, content: str) -> Score:
    """Compare the end of a reply with the expected answer: as many numbers as that has, or its one word.

    Example: `score_answer("42", "The answer is 42.")` and `score_answer("yes", "Yes, it is")` are 1.
    """
    wanted, found = _marks(expected), _marks(content)
    if not re.search(r"\d", expected):
        found = [word for word in found if word in _CHOICES or word == wanted[-1]]
    if not found:
        return Score(value=0.0, why=f"the reply has no answer; {expected} was expected")
    if found[-len(wanted) :] == wanted:
        return Score(value=1.0)
    return Score(value=0.0, why=f"the answer is {' and '.join(found[-len(wanted) :])}, and {expected} was expected")


_CHOICES = {"yes", "no", "true", "false", "equal"}


def _marks(text: str) -> list[str]:
    """The numbers of a text in order, or its words in lower case if it has no number."""
    numbers = [_plain(number) for number in _NUMBER.findall(text.replace("\u2212", "-"))]
    return numbers or re.findall(r"[a-z]+", text.lower())


def _plain(number: str) -> str:
    """`1,632.0` is `1632`."""
    value = float(number.replace(",", ""))
    return str(int(value)) if value.is_integer() else str(value)
