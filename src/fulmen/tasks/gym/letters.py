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
    """Letter pairs one by one, up to the first whose letter already has another partner."""
    left, right = entry["metadata"]["words"]
    steps, forward, backward, clash = [], dict[str, str](), dict[str, str](), ""
    for a, b in zip(left, right, strict=True):
        steps.append(f"{a}-{b}")
        if forward.setdefault(a, b) != b:
            clash = f"but {a}-{forward[a]}"
            break
        if backward.setdefault(b, a) != a:
            clash = f"but {backward[b]}-{b}"
            break
    verdict = clash or "all fit"
    thinking = f"{spelled(left)}\n{spelled(right)}\n{' '.join(steps)} {verdict}"
    return Solution(thinking=thinking, answer=str(not clash))


def solve_palindrome_generation(entry: Mapping[str, Any]) -> Solution:
    """One letter of every pair, the odd one, then the palindrome spelled."""
    letters = entry["metadata"]["letters"]
    half = [letter for letter in dict.fromkeys(letters) for _ in range(letters.count(letter) // 2)]
    middle = [letter for letter in dict.fromkeys(letters) if letters.count(letter) % 2]
    whole = [*half, *middle, *reversed(half)]
    thinking = f"pairs: {' '.join(half)}\nmiddle: {' '.join(middle) or 'none'}\n{' '.join(whole)}"
    return Solution(thinking=thinking, answer="".join(whole))


def solve_ransom_note(entry: Mapping[str, Any]) -> Solution:
    """For each letter of the note the needed and the present ones, up to the first that lacks."""
    note, magazine = entry["metadata"]["ransom_note"], entry["metadata"]["magazine"]
    steps, enough = [], True
    for letter in dict.fromkeys(note):
        needed, present = note.count(letter), magazine.count(letter)
        enough = needed <= present
        steps.append(f"{letter}:{needed}{'<' if needed < present else '=' if enough else '>'}{present}")
        if not enough:
            break
    thinking = f"{spelled(note)}\n{spelled(magazine)}\n{' '.join(steps)}"
    return Solution(thinking=thinking, answer=str(enough))


def spelled(word: str) -> str:
    """`c a t`."""
    return " ".join(word)
