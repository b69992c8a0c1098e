"""Text of any length in which things can be hidden: sentences, records or bare words, made fast."""

import random
from collections.abc import Callable, Sequence

from fulmen.tasks.lexicon import words
from fulmen.tasks.task import Split

_SENTENCES = (
    "The {adjective} {thing} stood near the {thing2}.",
    "{name} walked to {city} with the {thing}.",
    "There was a {adjective} {thing} in {city}.",
    "{name} and {name2} talked about the {thing} for an hour.",
    "Every {thing} in the room was {adjective}.",
    "It rained in {city}, and the {thing} got wet.",
    "{name} sold the {adjective} {thing} to {name2}.",
    "Nobody in {city} had seen the {thing} before.",
    "The {thing} was {adjective}, but the {thing2} was not.",
    "In the morning {name} cleaned the {thing} and left.",
    "{name} asked {name2} for a {adjective} {thing}.",
    "Behind the {thing} there was another {thing2}.",
)
_RECORDS = (
    "{hour:02}:{minute:02} {thing} moved from {city} to shelf {minute}",
    "{hour:02}:{minute:02} {name} checked the {thing}",
    "{thing} x {minute}, {adjective}",
    "{name}; {city}; {thing}; {hour}",
    "[{hour:02}:{minute:02}] {thing} {adjective}, {thing2} ok",
)


def fill(rng: random.Random, split: Split, hidden: Sequence[str], length: int) -> str:
    """Text of about `length` characters, at the most one line longer, with the hidden lines at places drawn uniformly.

    Example: `fill(rng, "train", ["The code for Harold is 4821."], 200)`.
    """
    draw = rng.choice((_sentences, _records, _bare_words, _sentences))(split)
    left = length - sum(len(line) + 1 for line in hidden)
    lines = []
    while left > 0:
        line = draw(rng)
        left -= len(line) + 1
        lines.append(line)
    places = sorted(rng.randint(0, len(lines)) for _ in hidden)
    for line, place in reversed(list(zip(rng.sample(hidden, len(hidden)), places, strict=True))):
        lines.insert(place, line)
    return rng.choice(("\n", " ", "\n")).join(lines)


def _sentences(split: Split) -> Callable[[random.Random], str]:
    return _from_forms(_SENTENCES, split)


def _records(split: Split) -> Callable[[random.Random], str]:
    return _from_forms(_RECORDS, split)


def _from_forms(forms: Sequence[str], split: Split) -> Callable[[random.Random], str]:
    adjectives, things = words("adjectives", split), words("things", split)
    names, cities = words("first_names", split), words("cities", split)

    def draw(rng: random.Random) -> str:
        return rng.choice(forms).format(
            adjective=rng.choice(adjectives),
            thing=rng.choice(things),
            thing2=rng.choice(things),
            name=rng.choice(names),
            name2=rng.choice(names),
            city=rng.choice(cities),
            hour=rng.randrange(24),
            minute=rng.randrange(60),
        )

    return draw


def _bare_words(split: Split) -> Callable[[random.Random], str]:
    bag = [word.replace("_", " ") for name in ("adjectives", "things", "verbs") for word in words(name, split)]
    return lambda rng: " ".join(rng.choices(bag, k=9))
