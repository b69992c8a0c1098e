"""Schemas of functions: from hints and docstrings, and every call that fits arrives as it was meant."""

import asyncio
import inspect
import json
from dataclasses import dataclass
from datetime import date
from keyword import iskeyword
from typing import Annotated, Literal

import pytest
from calling import answer
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from fulmen.chat.schema import check_schema
from fulmen.tools.function import plain_schema, tool_from_function
from fulmen.tools.registry import ToolRegistry


class Place(BaseModel):
    """Where."""

    city: str
    title: str = ""


@dataclass
class Span:
    days: int
    since: date | None = None


def book(place: Place, span: Span, mode: Literal["train", "bus"] = "bus", seats: Annotated[int, Field(ge=1)] = 1):
    """Book a journey.

    It can be cancelled.

    Args:
        place: where to.
        seats: how many people.

    Returns:
        What was booked.
    """
    return [place, span, mode, seats]


def test_schema_of_a_function():
    tool = tool_from_function(book)
    assert (tool.name, tool.description) == ("book", "Book a journey.\n\nIt can be cancelled.")
    assert list(tool.parameters)[:3] == ["type", "properties", "required"]
    properties = tool.parameters["properties"]
    assert properties["mode"] == {"type": "string", "default": "bus", "enum": ["train", "bus"]}
    assert properties["seats"] == {"type": "integer", "description": "how many people.", "default": 1, "minimum": 1}
    assert tool.parameters["required"] == ["place", "span"]
    assert tool.parameters["additionalProperties"] is False
    assert set(tool.parameters["$defs"]["Place"]["properties"]) == {"city", "title"}
    assert '"title":' not in json.dumps(tool.parameters).replace('"title": {', "")


def test_arguments_arrive_as_their_types():
    registry = ToolRegistry([tool_from_function(book)])
    given_arguments = {"place": {"city": "Rome"}, "span": {"days": 2, "since": "2026-01-02"}, "seats": 3}
    result = answer(registry, "book", given_arguments)
    assert json.loads(result.content) == [
        {"city": "Rome", "title": ""}, {"days": 2, "since": "2026-01-02"}, "bus", 3
    ]  # fmt: skip


def test_a_value_that_only_pydantic_refuses_is_named_by_its_place():
    result = answer(
        ToolRegistry([tool_from_function(book)]),
        "book",
        {"place": {"city": "Rome"}, "span": {"days": 2, "since": "2026-02-31"}},
    )
    assert result.failed
    assert "arguments.span.since: " in result.content


def test_names_that_pydantic_has_taken_itself():
    def store(copy: int, json: str, schema: bool, _hidden: int, model_config: int) -> str:
        return f"{copy} {json} {schema} {_hidden} {model_config}"

    given_arguments = {"copy": 1, "json": "x", "schema": True, "_hidden": 2, "model_config": 3}
    assert answer(ToolRegistry([tool_from_function(store)]), "store", given_arguments).content == "1 x True 2 3"


def test_a_coroutine_function_runs_on_the_loop():
    async def where() -> bool:
        return asyncio.get_running_loop().is_running()

    assert answer(ToolRegistry([tool_from_function(where)]), "where").content == "true"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a: a, "without a name"),
        (lambda a: a, "parameter a of f needs a type hint"),
        (lambda *a: a, "takes .a"),
        (lambda **k: k, "takes ..k"),
    ],
)
def test_functions_that_no_schema_can_be_made_of(function, message):
    with pytest.raises(ValueError, match=message):
        tool_from_function(function, **({} if "name" in message else {"name": "f"}))


def test_hints_that_mean_nothing_to_json_are_named():
    def draw(canvas: asyncio.Task) -> None:
        """Draw."""

    with pytest.raises(ValueError, match="draw"):
        tool_from_function(draw)


def test_plain_schema_keeps_what_is_data():
    schema = {"title": "T", "properties": {"title": {"title": "Title", "const": {"title": "x"}}}, "type": "object"}
    assert plain_schema(schema) == {
        "type": "object", "properties": {"title": {"const": {"title": "x"}}}
    }  # fmt: skip


TYPES = {
    int: st.integers(-(2**40), 2**40),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    list[int]: st.lists(st.integers(-9, 9), max_size=4),
    dict[str, bool]: st.dictionaries(st.text("abc", max_size=3), st.booleans(), max_size=3),
    int | None: st.none() | st.integers(-9, 9),
    Literal["red", "blue"]: st.sampled_from(["red", "blue"]),
    Annotated[int, Field(ge=0, le=5)]: st.integers(0, 5),
}
NAMES = st.lists(st.from_regex(r"\A[a-z_]{1,8}\Z").filter(lambda name: not iskeyword(name)), unique=True, max_size=4)


@st.composite
def signatures(draw):
    """Names with a type, a default or none, and a value that is given or left out."""
    found = {}
    for name in draw(NAMES):
        kind = draw(st.sampled_from(list(TYPES)))
        default = draw(st.just(...) | TYPES[kind])
        given_value = draw(TYPES[kind] if default is ... else st.just(...) | TYPES[kind])
        found[name] = (kind, default, given_value)
    return found


def function_of(signature, seen):
    """A function with this signature that writes down what it is called with."""

    def record(**arguments):
        seen.append(arguments)

    parameter = inspect.Parameter
    record.__signature__ = inspect.Signature(
        [
            parameter(name, parameter.KEYWORD_ONLY, default=parameter.empty if default is ... else default)
            for name, (_, default, _) in signature.items()
        ]
    )
    record.__annotations__ = {name: kind for name, (kind, _, _) in signature.items()}
    return record


@settings(max_examples=60, deadline=None, derandomize=True)
@given(signatures())
def test_any_signature_has_a_schema_and_its_calls_arrive(signature):
    seen = []
    tool = tool_from_function(function_of(signature, seen), name="record")
    check_schema(tool.parameters, "parameters", strict=True)
    assert set(tool.parameters["properties"]) == set(signature)
    required = [name for name, (_, default, _) in signature.items() if default is ...]
    assert tool.parameters.get("required", []) == required
    registry = ToolRegistry([tool])
    arguments = {name: value for name, (_, _, value) in signature.items() if value is not ...}
    assert not answer(registry, "record", arguments).failed
    assert seen == [{name: default if value is ... else value for name, (_, default, value) in signature.items()}]
    for name in required:
        result = answer(registry, "record", {key: value for key, value in arguments.items() if key != name})
        assert result.failed
        assert f'"{name}"' in result.content
    assert answer(registry, "record", {**arguments, "unheard of": 1}).failed
    assert len(seen) == 1
