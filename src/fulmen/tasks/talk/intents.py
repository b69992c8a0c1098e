"""What people say in small talk, in many wordings, and what is answered: read from the TOML files of this folder."""

import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from fulmen.tasks.lexicon import invented_name, split_of, words
from fulmen.tasks.task import Split
from fulmen.tasks.wording import says

_TOPICS = ("courtesies", "self", "abilities")
_BLANK = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """One thing that a user may want to say, the wordings of one split, and replies to it.

    Example::

        Intent(
            name="hello",
            topic="courtesies",
            asks=("Hello", "Hi"),
            replies=("Hello! How can I help?",),
            keys=("hello|hi",),
        )
    """

    name: str
    topic: str
    """The file it stands in."""
    asks: tuple[str, ...]
    replies: tuple[str, ...]
    keys: tuple[str, ...]
    """What a right reply holds: all of these, each in one of the wordings between the bars."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """What the user says, and the reply.

    Example: `Exchange(said="capital of France?", reply="The capital of France is Paris.", keys=("Paris",))`.
    """

    said: str
    reply: str
    keys: tuple[str, ...]


def holds_keys(text: str, keys: Sequence[str]) -> bool:
    """Whether a reply says all that `keys` of an intent want.

    Example: `holds_keys("Hi, I am Spark.", ("hello|hi", "spark"))`.
    """
    return all(any(says(text, wording) for wording in key.split("|")) for key in keys)


@cache
def intents(split: Split) -> tuple[Intent, ...]:
    """Every intent, with the wordings that belong to a split."""
    return tuple(
        Intent(
            name=name,
            topic=topic,
            asks=_of_split(entry["asks"], split),
            replies=tuple(entry["replies"]),
            keys=tuple(entry["keys"]),
        )
        for topic in _TOPICS
        for name, entry in _read(topic).items()
    )


def plain(text: str) -> str:
    """A wording without capitals and punctuation, in which two that a reader takes for the same are equal."""
    return re.sub(r"[^a-z0-9{} ]", "", text.lower().replace("'", "")).strip()


def draw_small_talk(rng: random.Random, split: Split, topics: Sequence[str] = _TOPICS) -> Exchange:
    """Any intent of these topics, each as likely as the next."""
    intent = rng.choice([intent for intent in intents(split) if intent.topic in topics])
    return Exchange(said=_typed(rng, rng.choice(intent.asks)), reply=rng.choice(intent.replies), keys=intent.keys)


def draw_fact(rng: random.Random, split: Split) -> Exchange:
    """A question for one of the facts that spark should know; the splits differ in wording only."""
    facts = _read("facts")
    entry = facts[rng.choice(tuple(facts))]
    name, answer = rng.choice(entry["known"]).split(" = ")
    reply = rng.choice(entry["replies"]).replace("{answer}", answer).format(name)
    ask = rng.choice(_of_split(entry["asks"], split)).format(name)
    return Exchange(said=_typed(rng, ask), reply=reply, keys=(answer,))


def draw_unknown(rng: random.Random, split: Split) -> Exchange:
    """A question that nobody could expect spark to answer."""
    entry = _read("unknown")["unknown"]

    def blank(match: re.Match[str]) -> str:
        if match[1] == "year":
            return str(rng.randint(1000, 2020))
        return invented_name(rng, split) if match[1] == "invented" else rng.choice(words(match[1], split))

    ask = _BLANK.sub(blank, rng.choice(entry["asks"]))
    return Exchange(said=_typed(rng, ask), reply=rng.choice(entry["replies"]), keys=tuple(entry["keys"]))


def _typed(rng: random.Random, text: str) -> str:
    """As people type: now and then without capitals, or without the mark at the end."""
    if rng.random() < 0.2:
        text = text.lower()
    return text.rstrip(".?!") if rng.random() < 0.2 else text


@cache
def _read(topic: str) -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(resources.files("fulmen.tasks.talk").joinpath(f"{topic}.toml").read_text(encoding="ascii"))


def _of_split(asks: Sequence[str], split: Split) -> tuple[str, ...]:
    """The wordings of a split: the first belongs to training, the last to the test, others where their hash says."""
    return tuple(ask for ask, owner in _owned(asks) if owner == split)


def _owned(asks: Sequence[str]) -> Iterator[tuple[str, Split]]:
    different = list(dict.fromkeys(map(plain, asks)))
    for ask in asks:
        place = different.index(plain(ask))
        ends: Mapping[int, Split] = {0: "train", len(different) - 1: "test"}
        yield ask, ends.get(place) or split_of(plain(ask))
