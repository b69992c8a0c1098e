"""Tools without end: some of several dozen everyday families, most put together from a deed, a thing and parameters.

The two splits share no whole name of a tool or of a parameter. Deeds, things and labels are divided by their hash, and
none is drawn that stands in a family of the other split. Single words are in names of both: `find` and `order` of
families, `code` and `date` of parameters, and what is put before these, such as `new`.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from fulmen.chat.message import ToolSpec
from fulmen.tasks.calls.parameter import Parameter, read_choices
from fulmen.tasks.lexicon import invented_name, split_of, words
from fulmen.tasks.task import Split
from fulmen.tasks.wording import determined, plural

_MODIFIERS = ("new", "old", "first", "second", "main", "total", "max", "min", "target", "final", "extra", "other")
_KIND_WEIGHTS = {
    "place": 5, "person": 5, "date": 4, "time": 3, "text": 5, "code": 4, "email": 2, "file": 2, "item": 4, "count": 6,
    "amount": 4, "flag": 4, "choice": 7,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class InventedTool:
    """A tool, and how people ask for what it does.

    Example::

        InventedTool(
            name="book_table",
            description="Book a table.",
            deed="book",
            thing="table",
            parameters=(Parameter(name="city", kind="place"),),
        )
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    deed: str = ""
    """A verb; empty for a tool of a family."""
    thing: str = ""
    """Its object, without an article."""
    several: bool = False
    """Whether the object is named in the plural."""
    requests: tuple[str, ...] = ()
    """Of a family: requests with parameters in braces, optional parts in brackets."""
    purpose: str = ""
    """Of a family: what other families do too."""
    titled: bool = False
    """Whether its schema has titles and sorted keys, as pydantic writes it and so most MCP servers."""
    opaque: bool = False
    """Whether nothing but the description says what it does."""

    @property
    def shown(self) -> str:
        """How a thought names it: by what tells what it does."""
        return f"{self.name} ({self.description})" if self.opaque else self.name

    def does_the_same_as(self, other: "InventedTool") -> bool:
        """Whether a request for one could be meant for the other: of two such tools only one is given."""
        if self.requests or other.requests:
            return self.purpose == other.purpose != ""
        pair = (self.thing, other.thing)
        return self.deed == other.deed and (pair[0].endswith(pair[1]) or pair[1].endswith(pair[0]))

    def spec(self) -> ToolSpec:
        """The tool as the model is told of it."""
        schemas = {parameter.name: parameter.schema() for parameter in self.parameters}
        if self.titled:
            schemas = {name: _titled(schema, name.replace("_", " ").title()) for name, schema in schemas.items()}
        required = [parameter.name for parameter in self.parameters if parameter.required]
        parameters: dict[str, Any] = {"type": "object", "properties": schemas, "required": required}
        if self.titled:
            parameters = _titled(parameters, f"{self.name}Arguments")
        return ToolSpec(name=self.name, description=self.description, parameters=parameters)


def _titled(schema: dict[str, Any], title: str) -> dict[str, Any]:
    return dict(sorted({**schema, "title": title}.items()))


@cache
def families(split: Split) -> tuple[InventedTool, ...]:
    """The everyday tools of a split, as the data file beside this one lists them."""
    text = resources.files("fulmen.tasks.calls").joinpath(f"families_{split}.txt").read_text(encoding="ascii")
    return tuple(_family(line) for line in text.splitlines())


def _family(line: str) -> InventedTool:
    head, description, parameters, requests = line.split(" | ")
    name, _, purpose = head.partition(":")
    return InventedTool(
        name=name,
        purpose=purpose,
        description=description,
        parameters=tuple(_family_parameter(text) for text in parameters.split("; ")),
        requests=tuple(requests.split(" / ")),
    )


def _family_parameter(text: str) -> Parameter:
    name, kind, *choices = text.split()
    return Parameter(
        name=name.removesuffix("?"), kind=kind, required=not name.endswith("?"), choices=read_choices(choices)
    )


@cache
def deeds_and_things(split: Split) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Verbs and nouns of which the split's tools are named; none stands in a tool's name of the other split."""
    taken = {word for family in families(_other(split)) for word in family.name.split("_")}
    verbs = (verb for verb in words("verbs", split) if not taken & set(verb.split("_")))
    return tuple(verbs), tuple(thing for thing in words("things", split) if thing not in taken)


@cache
def labels(split: Split) -> Mapping[str, tuple[str, ...]]:
    """Names of parameters by kind; those of `choice` are followed by what can be chosen."""
    taken = {parameter.name for family in families(_other(split)) for parameter in family.parameters}
    folder = resources.files("fulmen.tasks.calls")
    lines = folder.joinpath("labels.txt").read_text(encoding="ascii").splitlines()
    by_kind = {kind: names.split() for kind, _, names in (line.partition(": ") for line in lines)}
    choices = folder.joinpath("choices.txt").read_text(encoding="ascii")
    by_kind["choice"] = choices.replace(":", "").splitlines()
    return {
        kind: tuple(name for name in names if split_of(name.split()[0]) == split and name.split()[0] not in taken)
        for kind, names in by_kind.items()
    }


def draw_tool(rng: random.Random, split: Split, *, near: InventedTool | None = None) -> InventedTool:
    """Invent a tool; `near` gives one that it may resemble in deed or thing, so that reading closely pays."""
    if rng.random() < (0.3 if split == "train" else 0.15) and near is None:
        return rng.choice(families(split))
    verbs, nouns = deeds_and_things(split)
    verb, noun = rng.choice(verbs), rng.choice(nouns)
    adjective = rng.choice(words("adjectives", split)) if rng.random() < (0.4 if split == "train" else 0.2) else ""
    if near is not None and near.deed and rng.random() < 0.6:
        if rng.random() < 0.5:
            verb = near.deed
        else:
            noun, adjective = near.thing.split()[-1], adjective if " " in near.thing else ""
    thing = f"{adjective} {noun}".strip()
    several = rng.random() < 0.2
    named = thing if rng.random() < 0.7 else noun  # nothing that is given resembles it so much that this could mislead
    name = _tool_name(rng, split, verb, plural(named) if several else named)
    description = _description(rng, verb, determined(thing, several=several))
    opaque = rng.random() < 0.08
    if opaque:
        name = invented_name(rng, split).lower() + rng.choice(("", "_api", "_tool", "_v2"))
        description = f"{verb.replace('_', ' ').capitalize()} {determined(thing, several=several)[0]}."
    return InventedTool(
        name=name,
        description=description,
        deed=verb,
        thing=thing,
        several=several,
        parameters=_draw_parameters(rng, split),
        titled=rng.random() < 0.2,
        opaque=opaque,
    )


def _tool_name(rng: random.Random, split: Split, verb: str, thing: str) -> str:
    parts = [verb, *thing.split()]
    style = rng.random()
    if style < (0.6 if split == "train" else 0.75):
        return "_".join(parts)
    if style < 0.9:
        first, *rest = "_".join(parts).split("_")
        return first + "".join(part.capitalize() for part in rest)
    return "_".join([*parts[1:], verb])


def _description(rng: random.Random, verb: str, determined_thing: Sequence[str]) -> str:
    deed, (one, the, _) = verb.replace("_", " "), determined_thing
    forms = (f"{deed.capitalize()} {one}.", f"{deed.capitalize()} {the}.", f"Use this to {deed} {one}.", "")
    return rng.choice(forms)


def _draw_parameters(rng: random.Random, split: Split) -> tuple[Parameter, ...]:
    kinds, weights = zip(*_KIND_WEIGHTS.items(), strict=True)
    all_required = rng.random() < 0.6
    count = rng.choice((1, 1, 2, 2, 3, 3, 4))
    parameters: list[Parameter] = []
    while len(parameters) < count:
        kind = rng.choices(kinds, weights)[0]
        label, *choices = rng.choice(labels(split)[kind]).split()
        name = f"{rng.choice(_MODIFIERS)}_{label}" if rng.random() < 0.2 else label
        if any(name == other.name for other in parameters):
            continue
        parameter = Parameter(
            name=name,
            kind=kind,
            required=all_required or rng.random() < 0.6,
            described=rng.random() < 0.3,
            choices=read_choices(choices),
        )
        if not parameter.required and rng.random() < 0.5:
            usual = rng.choice((0, 1, 10)) if kind in ("count", "amount") else parameter.draw(rng, split).json
            parameter = replace(parameter, default=usual)
        parameters.append(parameter)
    return tuple(parameters)


def _other(split: Split) -> Split:
    return "test" if split == "train" else "train"
