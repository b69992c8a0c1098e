"""Values of arguments: what stands in the JSON of a call, and how the request spells it.

First station of an invented request. Nearly every value is to be copied letter by letter, since only copying carries
over to tools never seen; the exceptions are flags, choices of an enumeration, and small numbers spelt as words.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from fulmen.tasks.lexicon import invented_name, words
from fulmen.tasks.task import Split
from fulmen.tasks.wording import capital

_NUMBER_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_MONTHS = tuple(
    [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ]
)
_DAYS = tuple(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"])
_FILE_ENDINGS = ("pdf", "txt", "csv", "json", "py", "md", "png", "doc")
_ROOMS = ("kitchen", "bedroom", "bathroom", "living room", "hall", "office", "garage", "cellar", "attic", "nursery")
_MAIL_HOSTS = ("mail.com", "post.org", "example.com", "inbox.net", "home.io")

JsonValue = str | int | float | bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """The value of one argument.

    Example: `Value(json=4, text="four")`.
    """

    json: JsonValue
    """As the call holds it."""
    text: str
    """As the request spells it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of argument: its type in JSON, and what its values look like."""

    type: str
    """Of JSON schema."""
    meaning: str
    """For the description of a parameter."""
    phrase: str
    """How a request says a value without its label; empty when it can't."""
    draw: Callable[[random.Random, Split], Value]


def _copied(text: str) -> Value:
    return Value(json=text, text=text)


def _place(rng: random.Random, split: Split) -> Value:
    return _copied(invented_name(rng, split) if rng.random() < 0.25 else rng.choice(words("cities", split)))


def _person(rng: random.Random, split: Split) -> Value:
    first = invented_name(rng, split) if rng.random() < 0.2 else rng.choice(words("first_names", split))
    return _copied(first if rng.random() < 0.6 else f"{first} {rng.choice(words('surnames', split))}")


def _date(rng: random.Random, split: Split) -> Value:
    day, month = rng.randint(1, 28), rng.randint(1, 12)
    forms = (
        f"{rng.randint(2020, 2039)}-{month:02}-{day:02}",
        f"{_MONTHS[month - 1]} {day}",
        f"{day} {_MONTHS[month - 1]}",
        rng.choice(_DAYS),
    )
    return _copied(rng.choice(forms))


def _time(rng: random.Random, split: Split) -> Value:
    hour, minute = rng.randint(0, 23), rng.randrange(0, 60, 5)
    clock = f"{hour}:{minute:02}"
    return _copied(
        rng.choice((clock, clock, f"{hour:02}:{minute:02}", f"{hour % 12 or 12} {rng.choice(('am', 'pm'))}"))
    )


def _text(rng: random.Random, split: Split) -> Value:
    def pick(name: str) -> str:
        return rng.choice(words(name, split)).replace("_", " ")

    forms = (
        lambda: f"{pick('adjectives')} {pick('things')}",
        lambda: f"{pick('verbs')} the {pick('things')}",
        lambda: f"{pick('verbs')} the {pick('adjectives')} {pick('things')}",
        lambda: f"the {pick('things')} is {pick('adjectives')}",
        lambda: f"{pick('things')} for {pick('first_names')}",
        lambda: f"{pick('first_names')} has a {pick('things')}",
        lambda: f"{pick('things')} and {pick('things')}",
        lambda: f"{pick('things')} in {pick('cities')}",
    )
    text = rng.choice(forms)()
    return _copied(text if rng.random() < 0.5 else capital(text))


def _code(rng: random.Random, split: Split) -> Value:
    def letters(count: int) -> str:
        return "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(count))

    number = str(rng.randint(100, 99999))
    forms = (
        f"{letters(2)}{number}",
        f"{letters(1)}-{number}",
        f"{letters(2)}-{number}",
        letters(4),
        f"{number}{letters(1)}",
    )
    return _copied(rng.choice(forms))


def _email(rng: random.Random, split: Split) -> Value:
    first = rng.choice(words("first_names", split)).lower()
    local = rng.choice(
        (first, f"{first}.{rng.choice(words('surnames', split)).lower()}", f"{first}{rng.randint(1, 99)}")
    )
    return _copied(f"{local}@{rng.choice(_MAIL_HOSTS)}")


def _file(rng: random.Random, split: Split) -> Value:
    name = f"{rng.choice(words('things', split))}.{rng.choice(_FILE_ENDINGS)}"
    return _copied(rng.choice((name, name, f"{rng.choice(words('adjectives', split))}_{name}", f"/tmp/{name}")))


def _item(rng: random.Random, split: Split) -> Value:
    return _copied(f"{rng.choice(words('adjectives', split))} {rng.choice(words('things', split))}")


def _count(rng: random.Random, split: Split) -> Value:
    if rng.random() < 0.15:
        index = rng.randrange(len(_NUMBER_WORDS))
        return Value(json=index + 2, text=_NUMBER_WORDS[index])
    number = rng.randint(2, rng.choice((12, 60, 999)))
    return Value(json=number, text=str(number))


def _amount(rng: random.Random, split: Split) -> Value:
    number = rng.choice((rng.randint(1, 99), rng.randint(100, 5000), rng.randint(1, 99) + rng.randint(1, 9) / 10))
    return Value(json=number, text=str(number))


def _sum(rng: random.Random, split: Split) -> Value:
    a, b, c = (rng.randint(2, rng.choice((20, 999))) for _ in range(3))
    first, second = (rng.choice("+-*/") for _ in range(2))
    return _copied(rng.choice((f"{a} {first} {b}", f"{a} {first} {b}", f"{a} {first} {b} {second} {c}")))


def _room(rng: random.Random, split: Split) -> Value:
    return _copied(rng.choice(_ROOMS))


def _flag(rng: random.Random, split: Split) -> Value:
    value = rng.random() < 0.5
    return Value(json=value, text=rng.choice(("yes", "on", "true") if value else ("no", "off", "false")))


KINDS = {
    "place": Kind(type="string", meaning="a place", phrase="in {}", draw=_place),
    "person": Kind(type="string", meaning="name of a person", phrase="for {}", draw=_person),
    "date": Kind(type="string", meaning="a date", phrase="on {}", draw=_date),
    "time": Kind(type="string", meaning="time of day", phrase="at {}", draw=_time),
    "text": Kind(type="string", meaning="a text", phrase="'{}'", draw=_text),
    "code": Kind(type="string", meaning="a code", phrase="{}", draw=_code),
    "email": Kind(type="string", meaning="an email address", phrase="to {}", draw=_email),
    "file": Kind(type="string", meaning="name of a file", phrase="from {}", draw=_file),
    "item": Kind(type="string", meaning="a thing", phrase="", draw=_item),
    "count": Kind(type="integer", meaning="a whole number", phrase="", draw=_count),
    "amount": Kind(type="number", meaning="a number", phrase="of {}", draw=_amount),
    "flag": Kind(type="boolean", meaning="yes or no", phrase="", draw=_flag),
    "sum": Kind(type="string", meaning="for example 2 * 3", phrase="", draw=_sum),
    "room": Kind(type="string", meaning="a room", phrase="", draw=_room),
}
"""Every kind but `choice`, whose values stand in its schema."""
