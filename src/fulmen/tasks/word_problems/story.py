"""How a word problem is written down and drawn: pieces of text, the numbers in them, and the steps that they ask for.

A piece says what happens and which sums follow from it. Pieces that pass a quantity on (`x`) can be joined: an
opening, some events, an ending; others are whole stories. Numbers are drawn again until every step is a whole
number above zero and all of the working is short.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fulmen.tasks.problem import Problem
from fulmen.tasks.word_problems.vocabulary import DISTRACTORS, NAMES, WORDS
from fulmen.tasks.working import add, divide, multiply, subtract

MAX_STEPS = 4
_MAX_VALUE, _MAX_THINKING = 9999, 330
_DISTRACTED_SHARE = 0.35
_STEP = re.compile(r"(\w+)=(\w+)([-+*/])(\w+)")
_WORK = {"+": add, "-": subtract, "*": multiply, "/": divide}


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of a story, or all of it.

    Example::

        Piece(
            name="gift",
            texts=("{name} gives {b} {items} to {friend}.",),
            numbers={"b": range(2, 40)},
            steps=("left=x-b",),
        )
    """

    name: str
    texts: tuple[str, ...]
    """Wordings of the same; numbers and words stand in braces. The last piece of a story ends with the question."""
    numbers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """What each number is drawn from."""
    steps: tuple[str, ...] = ()
    """Sums in order, as `label=left*right`: of numbers, of earlier labels, and of `x`, the result of the piece
    before. The last step is the result of this piece."""
    unit: str = ""
    """What the answer counts, where the piece ends a story."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Solved:
    """A piece with its numbers, worked out."""

    values: dict[str, int]
    lines: tuple[str, ...]
    result: int


def draw_story(rng: random.Random, pieces: Sequence[Piece]) -> Problem | None:
    """One problem of these pieces with numbers, names and words drawn afresh; None if the numbers don't work out."""
    solved: list[_Solved] = []
    for piece in pieces:
        done = _solve(rng, piece, solved[-1].result if solved else 0)
        if done is None:
            return None
        solved.append(done)
    lines = [line for done in solved for line in done.lines]
    thinking = "\n".join(lines)
    if not 2 <= len(lines) <= MAX_STEPS or len(thinking) > _MAX_THINKING:
        return None
    words = draw_words(rng)
    sentences = [
        rng.choice(piece.texts).format(**words, **done.values) for piece, done in zip(pieces, solved, strict=True)
    ]
    numbers = ";".join(f"{name}={value}" for done in solved for name, value in done.values.items())
    return Problem(
        key=f"{'+'.join(piece.name for piece in pieces)}:{numbers}",
        question=_with_distractor(rng, " ".join(sentences), words),
        thinking=thinking,
        answer=f"{solved[-1].result} {pieces[-1].unit.format(**words)}".strip(),
    )


def draw_words(rng: random.Random) -> dict[str, str]:
    """One word of each kind; names differ from each other, and so do the two kinds of items."""
    words = {kind: rng.choice(choices) for kind, choices in WORDS.items()}
    words["name"], words["friend"], words["third"] = rng.sample(NAMES, 3)
    words["items"], words["others"] = rng.sample(WORDS["items"], 2)
    words["goods"], words["wares"] = rng.sample(WORDS["goods"], 2)
    words["animals"], words["herd"] = rng.sample(WORDS["animals"], 2)
    words["town"], words["city"] = rng.sample(WORDS["town"], 2)
    return words


def _solve(rng: random.Random, piece: Piece, x: int) -> _Solved | None:
    """Draw the numbers of a piece and carry out its steps; None if a step has no whole result above zero."""
    values = {name: rng.choice(choices) for name, choices in piece.numbers.items()}
    known, lines, result = {"x": x, **values}, [], x
    for step in piece.steps:
        match = _STEP.fullmatch(step)
        if match is None:
            raise ValueError(f"step {step!r} of {piece.name} is not of the form label=left*right")
        label, sign = match[1], match[3]
        left, right = (int(side) if side.isdigit() else known[side] for side in (match[2], match[4]))
        if sign == "/" and (right == 0 or left % right):
            return None
        worked = _WORK[sign](left, right)
        if not 0 < worked.result <= _MAX_VALUE:
            return None
        known[label] = result = worked.result
        lines.append(f"{label.replace('_', ' ')}:{worked.text}")
    return _Solved(values=values, lines=tuple(lines), result=result)


def _with_distractor(rng: random.Random, text: str, words: Mapping[str, str]) -> str:
    """Put a sentence beside the point between two sentences, sometimes; never after the question."""
    if rng.random() >= _DISTRACTED_SHARE:
        return text
    sentences = re.split(r"(?<=[.]) ", text)
    extra = rng.choice(DISTRACTORS).format(n=rng.randint(2, 60), **words)
    sentences.insert(rng.randrange(len(sentences)), extra)
    return " ".join(sentences)
