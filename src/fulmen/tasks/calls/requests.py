"""Requests in words: what a user says who wants a tool called with certain arguments."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fulmen.tasks.calls.parameter import Parameter
from fulmen.tasks.calls.tools import InventedTool
from fulmen.tasks.calls.values import KINDS, Value
from fulmen.tasks.task import Split
from fulmen.tasks.wording import capital, determined

_OPENINGS = (
    "{}", "{}", "Please {}", "Can you {}?", "Could you {}?", "I want to {}", "I need to {}", "I would like to {}",
    "Help me {}", "Let us {}", "You should {}", "Time to {}", "Now {}", "Would you {} for me?", "Please {} for me",
)  # fmt: skip
_INLINE = (
    "with {label} {value}", "with the {label} {value}", "{label} {value}", "{label}: {value}", "{label} = {value}",
    "using {value} as the {label}", "with {value} as the {label}", "the {label} being {value}",
)  # fmt: skip
_SENTENCES = (
    "The {label} is {value}.", "The {label} should be {value}.", "Use {value} as the {label}.",
    "My {label} is {value}.", "Take {value} for the {label}.", "Set the {label} to {value}.", "{value} is the {label}.",
)  # fmt: skip
_FLAGS = {
    True: ("with {label}", "{label} on", "{label}: yes", "{label} yes", "and {label} please", "{label}: true"),
    False: ("without {label}", "{label} off", "{label}: no", "no {label}", "but no {label}", "{label}: false"),
}
_CHOICES = (
    "{value} {label}",
    "with {label} {value}",
    "{label}: {value}",
    "{label} {value}",
    "as {value}",
    "in {value}",
)
_BRACKETS = re.compile(r"\[([^\]]*)\]")
_BRACES = re.compile(r"\{(\w+)\}")


_SHORTEST_DEED, _LONGEST_DEED = 3, 8
"""Words before the first value that say what a request is for; where there are fewer, its beginning does."""
_RECASED: Mapping[Split, float] = {"train": 0.6, "test": 0.3}
"""How many choices are in other letters than the schema has; training has more of what is learned last."""
_UNLABELLED: Mapping[Split, float] = {"train": 0.7, "test": 0.5}
"""How many values have no label, where the schema tells whose they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a user says, and which of its words say what.

    Example::

        Request(
            text="Book a table in Paris for 4 people.",
            deed="Book a table",
            phrases={"city": "in Paris", "people": "for 4 people"},
        )
    """

    text: str
    deed: str
    """What is to be done, as it stands in the text."""
    phrases: Mapping[str, str]
    """By parameter, in the order of the text: the words with its value, as they stand there."""


def phrase_request(rng: random.Random, split: Split, tool: InventedTool, values: Mapping[str, Value]) -> Request:
    """Ask for what `tool` does, with these values for its parameters and nothing about the others."""
    if tool.requests:
        return _fill(rng.choice(tool.requests), values)
    deed = f"{tool.deed.replace('_', ' ')} {rng.choice(determined(tool.thing, several=tool.several))}"
    opening = rng.choice(_OPENINGS).format(deed)
    question = opening.endswith("?")
    inline: dict[str, str] = {}
    after: dict[str, str] = {}
    for parameter in rng.sample(tool.parameters, len(tool.parameters)):
        if parameter.name in values:
            value = values[parameter.name]
            if parameter.kind != "flag" and rng.random() < 0.25:
                form = rng.choice(_SENTENCES)
                after[parameter.name] = _fit(form, parameter.label, _spell(rng, split, parameter, value))
            else:
                inline[parameter.name] = _inline(rng, split, tool, parameter, value)
    sentence = opening.rstrip("?") + _joined(rng, list(inline.values()))
    end = "?" if question else rng.choice((".", ".", ""))
    if after and not end:
        end = "."
    text = " ".join([capital(sentence) + end, *after.values()])
    phrases = {name: without_end(phrase) for name, phrase in (inline | after).items()}
    return Request(text=text, deed=deed if deed in text else capital(deed), phrases=phrases)


def beginning(text: str) -> str:
    """What a request is for that names no deed: its first words."""
    return without_end(" ".join(text.split(maxsplit=_LONGEST_DEED)[:_LONGEST_DEED]))


def without_end(text: str) -> str:
    """A text without the signs that end it."""
    return text.rstrip(".?!: ")


def _fill(template: str, values: Mapping[str, Value]) -> Request:
    """A request of a family; a bracket stays when its parameters have values."""

    def optional(match: re.Match[str]) -> str:
        return match[1] if all(name in values for name in _BRACES.findall(match[1])) else ""

    first, *rest = _BRACES.split(_BRACKETS.sub(optional, template))
    text, before, phrases = first, first, {}
    for name, following in zip(rest[::2], rest[1::2], strict=True):
        value = values[name]
        text += value.text + following
        phrases[name] = _phrase(before, value, following)
        before = following
    deed = without_end(first.rsplit(maxsplit=1)[0] if first.endswith(" ") else first.rstrip("' "))
    if len(deed.split()) < _SHORTEST_DEED:
        deed = beginning(text)
    return Request(text=text, deed=deed, phrases=phrases)


def _phrase(before: str, value: Value, after: str) -> str:
    """A value with the word before it, and where it is a number with the word after it."""
    if before.endswith("'"):
        return f"'{value.text}'"
    word = before.split()[-1:] if before.endswith(" ") else []
    unit = re.match(r" \w+", after) if not isinstance(value.json, str) else None
    return " ".join([*word, value.text]) + (unit[0] if unit else "")


def _inline(rng: random.Random, split: Split, tool: InventedTool, parameter: Parameter, value: Value) -> str:
    """A value in the middle of the sentence; without its label only where the schema tells whose it is."""
    label, text = parameter.label, _spell(rng, split, parameter, value)
    if parameter.kind == "flag":
        return rng.choice(_FLAGS[bool(value.json)]).format(label=label)
    if parameter.choices:
        alone = sum(len(other.choices) > 0 for other in tool.parameters) == 1
        return _fit(rng.choice(_CHOICES[: None if alone else 4]), label, text)
    if parameter.kind == "count" and label.endswith("s") and rng.random() < 0.6:
        return f"{rng.choice(('with ', 'for ', ''))}{text} {label}"
    kind = KINDS[parameter.kind]
    only_one = sum(other.type == parameter.type and not other.choices for other in tool.parameters) == 1
    told = (only_one or parameter.described) and _only_of_kind(tool, parameter)
    if kind.phrase and told and rng.random() < _UNLABELLED[split]:
        return kind.phrase.format(text) if parameter.kind != "text" else text
    return _fit(rng.choice(_INLINE), label, text)


def _only_of_kind(tool: InventedTool, parameter: Parameter) -> bool:
    return sum(other.kind == parameter.kind for other in tool.parameters) == 1


def _spell(rng: random.Random, split: Split, parameter: Parameter, value: Value) -> str:
    """The value in the request: texts in quotes, choices in any case."""
    if parameter.kind == "text":
        return f"'{value.text}'" if rng.random() < 0.6 else f'"{value.text}"'
    if parameter.choices and rng.random() < _RECASED[split]:
        return rng.choice((value.text.upper(), value.text.capitalize()))
    return value.text


def _fit(form: str, label: str, text: str) -> str:
    return form.format(label=label, value=text)


def _joined(rng: random.Random, phrases: list[str]) -> str:
    if not phrases:
        return ""
    separator = rng.choice((" ", ", ", " and "))
    if separator == " and " and len(phrases) > 1:
        return " " + ", ".join(phrases[:-1]) + " and " + phrases[-1]
    return rng.choice((" ", " ", ", ", ": ")) + separator.join(phrases)
