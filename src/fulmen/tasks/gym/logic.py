"""Reasoning about people, sets and a cube, in as few words as it takes."""

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

from fulmen.tasks.gym.task import Solution

WOMEN = {"mother", "sister", "daughter", "wife", "grandmother", "aunt", "niece", "mother-in-law"}
SIDES = ("top", "right", "front", "left", "back", "bottom")
_TURNS = {
    "front": ("top", "front", "bottom", "back"),
    "right": ("top", "right", "bottom", "left"),
    "back": ("top", "back", "bottom", "front"),
    "left": ("top", "left", "bottom", "right"),
}
"""A turn that brings a side to the top: each side takes the colour of the next, the last that of the first."""


def solve_syllogism(entry: Mapping[str, Any]) -> Solution:
    """The three statements in letters: A, B and C in the order in which they appear."""
    meta = entry["metadata"]
    letters: dict[str, str] = {}
    lines = [_in_letters(meta[part], letters) for part in ("premise1", "premise2", "conclusion")]
    legend = ", ".join(f"{letter}={term}" for term, letter in letters.items())
    return Solution(thinking=f"{legend}\n{lines[0]}; {lines[1]}\n{lines[2]}?", answer=entry["answer"])


def _in_letters(statement: str, letters: dict[str, str]) -> str:
    """`Some whales are not dogs` is `Some A not B`; new terms get the next letter."""
    match = re.fullmatch(r"(All|No|Some) (.+?) are (not )?(.+)", statement)
    if match is None:
        raise ValueError(f"{statement!r} is no statement about all, none or some of a kind")
    for term in (match[2], match[4]):
        if term not in letters:
            letters[term] = "ABC"[len(letters)]
    return f"{match[1]} {letters[match[2]]} {match[3] or ''}{letters[match[4]]}"


def solve_family_relationships(entry: Mapping[str, Any]) -> Solution:
    """The way from one person to the other, whether it leads to a woman or a man, and the word for that."""
    story = entry["question"].partition("\n\n")[0]
    meta, relation = entry["metadata"], entry["answer"]
    first, second = meta["person1"], meta["person2"]
    way = _way(_bonds(story), first, second)
    # reasoning-gym names the parents of a spouse by the second person, all others by the first
    described = second if relation.endswith("in-law") else first
    steps = [f"{a} is {bond} {b}" for a, bond, b in way]
    sex = "a woman" if relation in WOMEN else "a man"
    return Solution(thinking="\n".join([*steps, f"{described} is {sex}"]), answer=relation)


def _bonds(story: str) -> dict[str, list[tuple[str, str]]]:
    """Who is bound to whom, and how, in the order of the story."""
    bonds: dict[str, list[tuple[str, str]]] = {}
    for couple in re.finditer(
        r"(\w+) is married to (\w+)\.(?: They have (?:a child|children) called ([^.]+)\.)?", story
    ):
        parents = (couple[1], couple[2])
        for person, spouse in (parents, parents[::-1]):
            bonds.setdefault(person, []).append(("married to", spouse))
        for child in re.findall(r"\w+", (couple[3] or "").replace(" and ", " ")):
            for parent in parents:
                bonds.setdefault(parent, []).append(("parent of", child))
                bonds.setdefault(child, []).append(("child of", parent))
    return bonds


def _way(bonds: Mapping[str, list[tuple[str, str]]], start: str, end: str) -> list[tuple[str, str, str]]:
    """The shortest way from one person to another."""
    ways: dict[str, list[tuple[str, str, str]]] = {start: []}
    pending = deque([start])
    while pending:
        person = pending.popleft()
        for bond, other in bonds.get(person, []):
            if other not in ways:
                ways[other] = [*ways[person], (person, bond, other)]
                pending.append(other)
    if end not in ways:
        raise ValueError(f"nothing binds {start} to {end}")
    return ways[end]


def solve_aiw(entry: Mapping[str, Any]) -> Solution:
    """How many of her kind a woman has around her, and she herself."""
    question = entry["question"]
    name = question.split()[0]
    others, kind = re.findall(r"(\d+) (sisters|female friends|female colleagues)", question)[0]
    total = int(others) + 1
    return Solution(thinking=f"{name} has {others} {kind}\nwith {name}:{others}+1={total}", answer=str(total))


def solve_color_cube_rotation(entry: Mapping[str, Any]) -> Solution:
    """All six colours after every turn."""
    colors = dict(entry["metadata"]["initial_state"])
    lines = [_cube(colors)]
    for side in entry["metadata"]["rotations"]:
        colors = turned(colors, side)
        lines.append(f"{side} to top\n{_cube(colors)}")
    return Solution(thinking="\n".join(lines), answer=colors[entry["metadata"]["target_side"]])


def turned(colors: Mapping[str, str], side: str) -> dict[str, str]:
    """The cube after the turn that brings a side to the top."""
    if side == "bottom":
        return turned(turned(colors, "front"), "front")
    cycle = _TURNS[side]
    return {**colors, **{here: colors[there] for here, there in zip(cycle, cycle[1:] + cycle[:1], strict=True)}}


def _cube(colors: Mapping[str, str]) -> str:
    return ", ".join(f"{side} {colors[side]}" for side in SIDES)
