"""What is to be remembered: a key and a value in a sentence, and the question for it.

The answer is the sentence again, letter by letter, so that a model can find the value as it would continue any text
that it has read before: by looking for the same words and going on as they went on.
"""

import random
from dataclasses import dataclass

from fulmen.tasks.lexicon import invented_name, words
from fulmen.tasks.task import Split

_FORMS = (
    ("The code for {key} is {value}.", ("What is the code for {key}?", "Tell me the code for {key}.")),
    ("The number of {key} is {value}.", ("What is the number of {key}?", "Which number does {key} have?")),
    ("The password of {key} is {value}.", ("What is the password of {key}?", "Give me the password of {key}.")),
    ("{key} is worth {value}.", ("What is {key} worth?", "How much is {key} worth?")),
    ("{key} belongs to {value}.", ("What does {key} belong to?", "To what does {key} belong?")),
    ("{key} chose {value}.", ("What did {key} choose?", "Which did {key} choose?")),
    ("key {key}: {value}", ("key {key}?", "What is the value of key {key}?")),
    ("{key} = {value}", ("{key} = ?", "What is {key}?")),
    ("{key} -> {value}", ("{key} -> ?", "Where does {key} point to?")),
    ("The secret word for {key} is {value}.", ("What is the secret word for {key}?", "Secret word for {key}?")),
    ("{key} goes with {value}.", ("What goes with {key}?", "What did I say that {key} goes with?")),
)
_DIGITS = "0123456789"
_LETTERS = "abcdefghjkmnpqrstuvwxyz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A key and its value.

    Example::

        Pair(
            key="Harold",
            value="4821",
            statement="The code for Harold is 4821.",
            question="What is the code for Harold?",
        )
    """

    key: str
    value: str
    statement: str
    """Also the answer to the question."""
    question: str


def draw_pairs(rng: random.Random, split: Split, count: int) -> list[Pair]:
    """Pairs of one form and one kind of key and value, no key and no value twice; at most 40."""
    statement, questions = rng.choice(_FORMS)
    draw_key = rng.choice(_KEYS)
    draw_value = rng.choice([draw for draw in _VALUES if draw is not draw_key])
    pairs: list[Pair] = []
    taken: set[str] = set()
    while len(pairs) < count:
        key, value = draw_key(rng, split), draw_value(rng, split)
        if key in taken or value in taken or key == value:
            continue
        taken |= {key, value}
        pairs.append(
            Pair(
                key=key,
                value=value,
                statement=statement.format(key=key, value=value),
                question=rng.choice(questions).format(key=key),
            )
        )
    return pairs


def draw_item(rng: random.Random, split: Split) -> str:
    """A key or value of any kind."""
    return rng.choice(_VALUES + _KEYS)(rng, split)


def _name(rng: random.Random, split: Split) -> str:
    return rng.choice(words("first_names", split))


def _full_name(rng: random.Random, split: Split) -> str:
    return f"{rng.choice(words('first_names', split))} {rng.choice(words('surnames', split))}"


def _new_name(rng: random.Random, split: Split) -> str:
    return invented_name(rng, split)


def _place(rng: random.Random, split: Split) -> str:
    return rng.choice(words("cities", split))


def _thing(rng: random.Random, split: Split) -> str:
    return f"the {rng.choice(words('adjectives', split))} {rng.choice(words('things', split))}"


def _label(rng: random.Random, split: Split) -> str:
    return "".join(rng.choice(_LETTERS if index % 2 == 0 else _DIGITS) for index in range(4))


def _number(rng: random.Random, split: Split) -> str:
    return "".join(rng.choices(_DIGITS, k=rng.choice((4, 4, 5))))


_KEYS = (_name, _full_name, _new_name, _place, _thing, _label)
_VALUES = (_number, _number, _number, _new_name, _label, _place, _thing)
