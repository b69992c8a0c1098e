"""Letters of words: spelled out first, because the model reads words in pieces."""

from collections.abc import Mapping
from typing import Any

from fulmen.tasks.gym.task import Solution


def solve_letter_counting(entry: Mapping[str, Any]) -> Solution:
    """Each word spelled, and the count so far."""
    letter, counted, steps = entry["metadata"]["target_letter"], 0, []
    for word in entry["metadata"]["span"]:
        counted += word.lower().count(letter)
        steps.append(f"{word}: {spelled(word.lower())}={counted}")
    return Solution(thinking="\n".join(steps), answer=str(counted))


def solve_spell_backward(entry: Mapping[str, Any]) -> Solution:
    """The word spelled, then spelled from its end."""
    word = entry["metadata"]["word"]
    return Solution(thinking=f"{spelled(word)}\n{spelled(word[::-1])}", answer=word[::-1])


def solve_isomorphic_strings(entry: Mapping[str, Any]) -> Solution:
    """Letter pairs one by one, each with the first partner that its left letter had; then the same from the right."""
    left, right = entry["metadata"]["words"]
    lines = [spelled(left), spelled(right)]
    for one, other in ((left, right), (right, left)):
        steps, partners, fits = [], dict[str, str](), True
        for a, b in zip(one, other, strict=True):
            steps.append(f"{a}-{b}:{partners.setdefault(a, b)}")
            fits = partners[a] == b
            if not fits:
                break
        lines.append(f"{' '.join(steps)} {'fits' if fits else 'no'}")
        if not fits:
            break
    return Solution(thinking="\n".join(lines), answer=str(fits))


def solve_palindrome_generation(entry: Mapping[str, Any]) -> Solution:
    """One letter of every pair, the odd one, then the palindrome spelled."""
    letters = entry["metadata"]["letters"]
    half = [letter for letter in dict.fromkeys(letters) for _ in range(letters.count(letter) // 2)]
    middle = [letter for letter in dict.fromkeys(letters) if letters.count(letter) % 2]
    whole = [*half, *middle, *reversed(half)]
    thinking = f"pairs: {' '.join(half)}\nmiddle: {' '.join(middle) or 'none'}\n{' '.join(whole)}"
    return Solution(thinking=thinking, answer="".join(whole))


def solve_ransom_note(entry: Mapping[str, Any]) -> Solution:
    """Each letter with how many of it there were so far; then the needed and the present ones of each letter of the
    note, up to the first that lacks.
    """
    note, magazine = entry["metadata"]["ransom_note"], entry["metadata"]["magazine"]
    steps, enough = [], True
    for letter in dict.fromkeys(note):
        needed, present = note.count(letter), magazine.count(letter)
        enough = needed <= present
        steps.append(f"{letter}:{needed}{'<' if needed < present else '=' if enough else '>'}{present}")
        if not enough:
            break
    thinking = f"{_counted(note)}\n{_counted(magazine)}\n{' '.join(steps)}"
    return Solution(thinking=thinking, answer=str(enough))


def _counted(word: str) -> str:
    """`n1 o1 o2 n2`."""
    return " ".join(f"{letter}{word[:end].count(letter)}" for end, letter in enumerate(word, start=1))


def spelled(word: str) -> str:
    """`c a t`."""
    return " ".join(word)
