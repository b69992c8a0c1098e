"""Small invented worlds: a few people, objects and villages, and what a text tells of them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from fulmen.tasks.lexicon import invented_name, words
from fulmen.tasks.reading.relations import RELATIONS, Relation, SubjectKind
from fulmen.tasks.task import Split
from fulmen.tasks.wording import capital, with_article

_FEWEST, _MOST = 3, 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A relation that holds.

    Example: `Fact(subject="Ada", relation=..., value="Lisbon")` with the relation `city` of people.
    """

    subject: str
    relation: Relation
    value: str

    def thought(self) -> str:
        """The fact as thinking writes it, "city of Ada: Lisbon"."""
        return f"{self.relation.name} of {self.subject}: {self.value}"

    def sentence(self, rng: random.Random) -> str:
        """One way to tell it."""
        form = rng.choice(self.relation.sentences)
        article = with_article(self.value) if "{an_o}" in form else ""
        text = form.format(s=self.subject, o=self.value, an_o=article)
        return capital(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Subjects by kind, and the facts that are told, in the order of telling."""

    subjects: Mapping[SubjectKind, tuple[str, ...]]
    facts: tuple[Fact, ...]

    def untold(self) -> list[tuple[str, Relation]]:
        """What could have been told of the subjects and is not."""
        told = {(fact.subject, fact.relation.name) for fact in self.facts}
        return [
            (subject, relation)
            for kind, subjects in self.subjects.items()
            for subject in subjects
            for relation in RELATIONS[kind]
            if (subject, relation.name) not in told
        ]


def draw_world(rng: random.Random, split: Split) -> World:
    """Invent two to four people, up to three objects and up to two villages, and choose 3 to 12 facts about them.

    No two facts of one relation have the same value, so that a wrong look-up gives a wrong answer.
    """
    subjects: dict[SubjectKind, tuple[str, ...]] = {
        "person": _distinct(rng, split, "person", rng.randint(2, 4)),
        "object": _distinct(rng, split, "object", rng.randint(0, 3)),
        "village": _distinct(rng, split, "invented", rng.randint(0, 2)),
    }
    possible = [(s, relation) for kind, names in subjects.items() for s in names for relation in RELATIONS[kind]]
    count = min(len(possible), rng.randint(_FEWEST, _MOST))
    facts: list[Fact] = []
    taken: set[tuple[str, str]] = set()
    for subject, relation in rng.sample(possible, len(possible)):
        if len(facts) == count:
            break
        value = _draw_value(rng, split, subject, relation, subjects["person"])
        if (relation.name, value) not in taken:
            taken.add((relation.name, value))
            facts.append(Fact(subject=subject, relation=relation, value=value))
    return World(subjects=subjects, facts=tuple(facts))


def _draw_value(rng: random.Random, split: Split, subject: str, relation: Relation, people: tuple[str, ...]) -> str:
    if relation.values.startswith("number"):
        _, low, high = relation.values.split(":")
        return str(rng.randint(int(low), int(high)))
    if relation.values == "person":
        return rng.choice([person for person in people if person != subject])
    return draw_name(rng, split, relation.values)


def draw_name(rng: random.Random, split: Split, kind: str) -> str:
    """A new subject, or a word of a list."""
    if kind == "invented":
        return invented_name(rng, split)
    if kind == "object":
        return f"the {rng.choice(words('adjectives', split))} {rng.choice(words('things', split))}"
    if kind == "person":
        return invented_name(rng, split) if rng.random() < 0.25 else rng.choice(words("first_names", split))
    return rng.choice(words(kind, split))


def _distinct(rng: random.Random, split: Split, kind: str, count: int) -> tuple[str, ...]:
    names: dict[str, None] = {}
    while len(names) < count:
        names[draw_name(rng, split, kind)] = None
    return tuple(names)
