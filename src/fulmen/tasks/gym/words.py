"""Whole words: put in another order, or found again in a text."""

import re
from collections.abc import Mapping
from typing import Any

from fulmen.tasks.gym.task import Solution


def solve_word_sequence_reversal(entry: Mapping[str, Any]) -> Solution:
    """The words numbered; the answer counts down."""
    words = entry["metadata"]["words"]
    numbered = [f"{number}:{word}" for number, word in enumerate(words, start=1)]
    return Solution(
        thinking=" ".join(numbered) + "\n" + " ".join(reversed(numbered)), answer=", ".join(reversed(words))
    )


def solve_word_sorting(entry: Mapping[str, Any]) -> Solution:
    """Each word after as many of its letters as tell it from the others; then these keys in order.

    Capitals come before small letters, as in ASCII.
    """
    meta = entry["metadata"]
    words, descending = meta["transformed_words"], meta["direction"] == "descending"
    longest = max(map(len, words))
    length = next((n for n in range(1, longest) if len({word[:n] for word in words}) == len(set(words))), longest)
    keys = [f"{' '.join(word[:length])}={word}" for word in words]
    ordered = sorted(words, reverse=descending)
    thinking = "\n".join([*keys, "in order:", *(" ".join(word[:length]) for word in ordered)])
    return Solution(thinking=thinking, answer=", ".join(ordered))


def solve_needle_haystack(entry: Mapping[str, Any]) -> Solution:
    """The statement that the question is about, then its name."""
    question, text = entry["metadata"]["question"], entry["question"]
    wanted = question.removeprefix("Who ").partition("?")[0]
    found = re.search(rf"(?:^|\. )([^.]+?) {re.escape(wanted)}\.", text)
    if found is None:
        raise ValueError(f"no statement answers {question!r}")
    return Solution(thinking=f"{wanted}: {found[1]} {wanted}.", answer=found[1])
