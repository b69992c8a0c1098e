"""Questions about a world: look a fact up, go on from its value to another fact, compare two, or find nothing."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fulmen.tasks.reading.relations import RELATIONS
from fulmen.tasks.reading.world import Fact, World, draw_name
from fulmen.tasks.task import Split
from fulmen.tasks.wording import says

NOT_SAID = "The text does not say."


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question with its answer and the steps to it.

    Example::

        Question(
            text="Where does the owner of the amber lamp live?",
            thinking="owner of the amber lamp: Ada; city of Ada: Lisbon",
            answer="Lisbon",
            wrong=("Paris",),
        )
    """

    text: str
    thinking: str
    answer: str
    wrong: tuple[str, ...]
    """Other values of the same kind in the text."""


def _lookup(rng: random.Random, split: Split, world: World) -> Question | None:
    fact = rng.choice(world.facts)
    text = rng.choice(fact.relation.questions).format(s=fact.subject)
    return Question(text=text, thinking=fact.thought(), answer=fact.value, wrong=_others(world, fact, text))


def _two_hops(rng: random.Random, split: Split, world: World) -> Question | None:
    chains = [
        (first, second)
        for first in world.facts
        if first.relation.values == "person"
        for second in world.facts
        if second.subject == first.value and second.value != first.subject
    ]
    if not chains:
        return None
    first, second = rng.choice(chains)
    way = f"the {'best ' if first.relation.name == 'friend' else ''}{first.relation.name} of {first.subject}"
    text = rng.choice(second.relation.questions).format(s=way)
    thinking = f"{first.thought()}; {second.thought()}"
    return Question(text=text, thinking=thinking, answer=second.value, wrong=_others(world, second, text))


def _comparison(rng: random.Random, split: Split, world: World) -> Question | None:
    pairs = [
        (one, other)
        for one in world.facts
        if one.relation.more
        for other in world.facts
        if other.relation == one.relation and other.subject != one.subject
    ]
    if not pairs:
        return None
    one, other = rng.choice(pairs)
    more = rng.random() < 0.5
    first_is_larger = int(one.value) > int(other.value)
    right, wrong = (one, other) if first_is_larger == more else (other, one)
    sign = ">" if first_is_larger else "<"
    return Question(
        text=rng.choice(one.relation.more if more else one.relation.less).format(a=one.subject, b=other.subject),
        thinking=f"{one.thought()}; {other.thought()}; {one.value} {sign} {other.value}",
        answer=right.subject,
        wrong=(wrong.subject,),
    )


def _not_said(rng: random.Random, split: Split, world: World) -> Question | None:
    """Something else about a subject of the text, or anything about someone whom it doesn't mention."""
    untold = world.untold()
    if untold and rng.random() < 0.8:
        subject, relation = rng.choice(untold)
    else:
        strangers = iter(lambda: draw_name(rng, split, "person"), "")
        subject = next(name for name in strangers if name not in world.subjects["person"])
        relation = rng.choice(RELATIONS["person"])
    return Question(
        text=rng.choice(relation.questions).format(s=subject),
        thinking=f"{relation.name} of {subject}: not said",
        answer=NOT_SAID,
        wrong=tuple(fact.value for fact in world.facts if fact.relation.name == relation.name),
    )


KINDS: Mapping[str, Callable[[random.Random, Split, World], Question | None]] = {
    "lookup": _lookup,
    "two_hops": _two_hops,
    "comparison": _comparison,
    "not_said": _not_said,
}
"""What asks each kind of question; None where a world gives no occasion for it."""


def _others(world: World, fact: Fact, question: str) -> tuple[str, ...]:
    """Values that the fact's could be mistaken for; not those in the question, which a reply may well repeat."""
    same = (other.value for other in world.facts if other.relation.values == fact.relation.values)
    return tuple(value for value in same if value != fact.value and not says(question, value))
