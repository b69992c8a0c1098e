"""A parameter of a tool: its schema for the model to read, and the values that a request may give it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fulmen.tasks.calls.values import KINDS, JsonValue, Value
from fulmen.tasks.task import Split


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter.

    Example: `Parameter(name="city", kind="place")` is `{"type": "string"}` in the schema.
    """

    name: str
    """In snake case."""
    kind: str
    """A name in `KINDS`, or `choice`."""
    required: bool = True
    described: bool = False
    """Whether the schema says what the value means."""
    choices: tuple[Value, ...] = ()
    """Of a `choice`: what the schema lists, and how requests spell it."""
    default: JsonValue | None = None
    """What the schema says it is when nobody gives it; None: the schema says nothing."""

    @property
    def label(self) -> str:
        """What a request calls it: the name in words."""
        return self.name.replace("_", " ")

    @property
    def type(self) -> str:
        """Its type in JSON schema."""
        return "string" if self.kind == "choice" else KINDS[self.kind].type

    def schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        schema: dict[str, Any] = {"type": self.type}
        if self.choices:
            schema["enum"] = [choice.json for choice in self.choices]
        elif self.described:
            schema["description"] = KINDS[self.kind].meaning
        if self.default is not None:
            schema["default"] = self.default
        return schema

    def draw(self, rng: random.Random, split: Split) -> Value:
        """A value that a request may give."""
        return rng.choice(self.choices) if self.choices else KINDS[self.kind].draw(rng, split)


def read_choices(texts: Sequence[str]) -> tuple[Value, ...]:
    """Read choices as the data files write them, `value=how_requests_spell_it` or just `value`.

    Example: `read_choices(["EUR=euros", "red"])` spells the first "euros" and the second "red".
    """
    pairs = (text.partition("=") for text in texts)
    return tuple(Value(json=value, text=(spelling or value).replace("_", " ")) for value, _, spelling in pairs)
