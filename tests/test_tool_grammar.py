"""Calls written under a tool's grammar fit its schema, whatever the model would rather write."""

import json
import random
from datetime import date

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from fulmen.chat.message import ToolSpec
from fulmen.chat.parser import parse
from fulmen.chat.toolcalls import ToolChoice, tool_grammar
from fulmen.engine.grammar import Grammars

NUM_SCHEMAS = 1000
PATIENCE = 120
"""So many tokens come as they like; then tokens that close something are preferred."""
PIECES = ['": ', '", "', "}}", '"}', "true", "null", '{"', "[[", "</tool_calls>", "\\u00", "\\n", "00", "-1", "été"]
PATTERNS = ["^[a-z]{2,6}$", "^[A-Z]{2}-[0-9]{3}$", "^(red|green|blue)$", "^a.*z$", "^[^x]+$", r"^\d{4}-\d{2}$", "b"]
FORMATS = ["date", "uuid", "ipv4", "email"]
NAMES = ["a", "city", "max count", 'quo"te', "ünï", "x-y", "$ref", "items", "type"]
CLOSING = {b'"': 5.0, b"}": 3.0, b"}}": 3.0, b"]": 3.0, b"z": 3.0, b"\n": 3.0, b"</tool_calls>": 3.0}
CHECKER = FormatChecker(["date", "uuid", "ipv4", "email"])


@CHECKER.checks("date", raises=ValueError)
def is_date(text):
    """RFC 3339 has a year 0, a leap year; Python has none."""
    return not isinstance(text, str) or bool(date.fromisoformat(text.replace("0000-", "2000-", 1)))


class Vocabulary:
    """All bytes, some pieces across the joints of JSON, and an end token."""

    token_bytes = (*(bytes([i]) for i in range(256)), *(piece.encode() for piece in PIECES), b"")
    eos_token_ids = (len(token_bytes) - 1,)
    special_token_ids = frozenset(eos_token_ids)

    def encode(self, text):
        return list(text.encode())


BIAS = np.array([CLOSING.get(token, 0.0) for token in Vocabulary.token_bytes])


@pytest.fixture(scope="module")
def grammars():
    return Grammars(Vocabulary(), len(Vocabulary.token_bytes))


def draw_string(rng):
    kind = rng.randrange(5)
    if kind == 0:
        return {"type": "string", "pattern": rng.choice(PATTERNS)}
    if kind == 1:
        return {"type": "string", "format": rng.choice(FORMATS)}
    if kind == 2:
        low = rng.randint(0, 4)
        return {"type": "string", "minLength": low, "maxLength": low + rng.randint(0, 9)}
    if kind == 3:
        return {"enum": rng.sample(["red", "Grün", 'say "hi"', "", "</tool_calls>", "\\", "line\nbreak"], 3)}
    return {"type": "string"}


def draw_number(rng):
    schema = {"type": rng.choice(["integer", "number"])}
    low, span = rng.randint(-1000, 1000), rng.randint(10, 400)
    if rng.random() < 0.4:
        schema[rng.choice(["minimum", "exclusiveMinimum"])] = low
    if rng.random() < 0.4:
        schema[rng.choice(["maximum", "exclusiveMaximum"])] = low + span
    if rng.random() < 0.2:
        schema["multipleOf"] = rng.choice([1, 2, 5, 7])
    return schema


def draw_array(rng, depth):
    low = rng.randint(0, 3)
    schema = {"type": "array", "items": draw_schema(rng, depth - 1)}
    if rng.random() < 0.5:
        schema |= {"minItems": low, "maxItems": low + rng.randint(0, 3)}
    if rng.random() < 0.2:
        schema["prefixItems"] = [draw_schema(rng, depth - 1) for _ in range(rng.randint(1, 2))]
    return schema


def draw_object(rng, depth):
    names = rng.sample(NAMES, rng.randint(0, 4))
    schema = {"type": "object", "properties": {name: draw_schema(rng, depth - 1) for name in names}}
    schema["required"] = [name for name in names if rng.random() < 0.6]
    more = rng.randrange(4)
    if more == 0:
        schema["additionalProperties"] = draw_schema(rng, depth - 1)
    elif more < 3:
        schema["additionalProperties"] = False
    if rng.random() < 0.2:
        schema["patternProperties"] = {"^p_": draw_schema(rng, depth - 1)}
    if rng.random() < 0.2:
        draw_count(rng, schema)
    return schema


def draw_count(rng, schema):
    """Bounds on the number of properties, where a grammar can hold them."""
    required, named = len(schema["required"]), len(schema["properties"])
    if schema.get("additionalProperties") is False and "patternProperties" not in schema:
        schema |= {"minProperties": rng.randint(0, required), "maxProperties": named}
        if named and not required:
            schema[rng.choice(["minProperties", "maxProperties"])] = 1
    elif required == named:
        schema |= {"minProperties": rng.randint(0, required + 1), "maxProperties": required + rng.randint(1, 3)}


def draw_combined(rng, depth):
    kind = rng.randrange(4)
    if kind == 0:
        return {"allOf": [{"type": "integer", "minimum": rng.randint(-9, 9)}, {"maximum": 100, "multipleOf": 5}]}
    if kind == 1:
        parts = [{"type": "object", "properties": {name: draw_string(rng)}, "required": [name]} for name in "ab"]
        return {"allOf": parts}
    if kind == 2:
        return {"oneOf": [draw_number(rng), {"type": ["string", "null"]}, draw_array(rng, depth)]}
    kinds = [{"properties": {"kind": {"const": name}, "x": draw_schema(rng, depth - 1)}} for name in "ab"]
    return {"oneOf": [{"type": "object", "required": ["kind"], **one} for one in kinds]}


def draw_schema(rng, depth):
    kind = rng.randrange(11 if depth > 0 else 5)
    if kind < 2:
        return draw_string(rng)
    if kind == 2:
        return draw_number(rng)
    if kind == 3:
        return rng.choice([{"type": "boolean"}, {"type": "null"}, {"type": ["integer", "null"]}, True])
    if kind == 4:
        return rng.choice([{"const": {"a": [1, None]}}, {"enum": [1, "1", None, False, [2]]}, {"$ref": "#/$defs/leaf"}])
    if kind < 7:
        return draw_object(rng, depth)
    if kind == 7:
        return draw_array(rng, depth)
    if kind == 8:
        return {"anyOf": [draw_schema(rng, depth - 1) for _ in range(rng.randint(2, 3))]}
    if kind == 9:
        return draw_combined(rng, depth)
    return {"$ref": "#/$defs/tree"}


def draw_parameters(rng):
    leaf = draw_string(rng)
    tree = {
        "type": "object",
        "properties": {"leaf": leaf, "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
        "required": ["next"],
        "additionalProperties": False,
    }
    return {**draw_object(rng, 3), "$defs": {"leaf": leaf, "tree": tree}}


def sample_reply(constraint, rng):
    """Sample from random logits where the grammar allows; returns the text."""
    written, count = b"", 0
    while not constraint.complete:
        assert not constraint.failed
        assert count < 5000, f"no end: {written[-200:]}"
        logits = rng.normal(scale=2.0, size=len(BIAS)) + (BIAS * 2 if count > PATIENCE else BIAS / 4)
        logits[constraint.mask() == 0] = -np.inf
        token = int(np.argmax(logits + rng.gumbel(size=len(BIAS))))
        constraint.consume(token)
        if token in Vocabulary.eos_token_ids:
            break
        written += Vocabulary.token_bytes[token]
        count += 1
    return written.decode()


@pytest.mark.parametrize("part", range(10))
def test_calls_fit_random_schemas(grammars, part):
    several = NUM_SCHEMAS // 10
    for seed in range(part * several, (part + 1) * several):
        rng = random.Random(seed)
        schema = draw_parameters(rng)
        Draft202012Validator.check_schema(schema)
        tool = ToolSpec(name="tool", parameters=schema, strict=seed % 2 == 0)
        choice = ToolChoice(mode="named", name="tool")
        text = sample_reply(grammars.compile(tool_grammar([tool], choice)), np.random.default_rng(seed))
        reply = parse(text)
        assert len(reply.tool_calls) == 1, (seed, text)
        assert not reply.warnings, (seed, text)
        arguments = json.loads(reply.tool_calls[0].arguments)
        errors = Draft202012Validator(schema, format_checker=CHECKER).iter_errors(arguments)
        assert [f"{error.json_path}: {error.message}" for error in errors] == [], (seed, schema, arguments)


@pytest.mark.parametrize("feature", ["not", "uniqueItems", "if", "contains", "dependentRequired", "propertyNames"])
def test_a_feature_that_no_grammar_expresses_is_refused_by_name_where_calls_must_fit(feature):
    values = {"uniqueItems": True, "dependentRequired": {"a": ["b"]}}
    schema = {"type": "object", "properties": {"x": {feature: values.get(feature, {})}}}
    with pytest.raises(ValueError, match=rf"tools\[0\].parameters.properties.x.{feature} is not supported"):
        tool_grammar([ToolSpec(name="tool", parameters=schema, strict=True)])
    assert tool_grammar([ToolSpec(name="tool", parameters=schema)]) is not None


INTEGER = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"additionalProperties": INTEGER, "minProperties": 2}, "minProperties"),
        ({"minProperties": 2}, "minProperties"),
        (
            {"patternProperties": {"^[ab]$": INTEGER}, "additionalProperties": False, "minProperties": 2},
            "minProperties",
        ),
        ({"properties": {"a": INTEGER}, "maxProperties": 2, "additionalProperties": INTEGER}, "maxProperties"),
        (
            {"properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": False, "minProperties": 2},
            "minProperties",
        ),
        ({"oneOf": [INTEGER, {"type": "number"}]}, "oneOf"),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, "oneOf"),
        ({"oneOf": [{"$ref": "#"}, True]}, "oneOf"),
    ],
)
def test_counts_and_alternatives_that_no_grammar_holds_are_refused_by_name(schema, keyword):
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    with pytest.raises(ValueError, match=rf"tools\[0\].parameters.properties.x.{keyword} is "):
        tool_grammar([ToolSpec(name="tool", parameters=parameters, strict=True)])
    assert tool_grammar([ToolSpec(name="tool", parameters=parameters)]) is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}, "required": ["a", "b"], "minProperties": 2},
        {"type": "object", "additionalProperties": INTEGER, "minProperties": 1, "maxProperties": 1},
        {
            "type": "object",
            "properties": {"a": INTEGER, "b": INTEGER},
            "additionalProperties": False,
            "minProperties": 1,
        },
        {"oneOf": [INTEGER]},
        {"oneOf": [{"const": "a"}, {"type": "string", "enum": ["b", "c"]}]},
        {
            "oneOf": [
                {"type": "object", "properties": {n: INTEGER}, "required": [n], "additionalProperties": False}
                for n in "ab"
            ]
        },
    ],
)
def test_counts_that_hold_by_themselves_are_allowed(grammars, schema):
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    grammar = tool_grammar(
        [ToolSpec(name="tool", parameters=parameters, strict=True)], ToolChoice(mode="named", name="tool")
    )
    for seed in range(10):
        text = sample_reply(grammars.compile(grammar), np.random.default_rng(seed))
        Draft202012Validator(parameters).validate(json.loads(parse(text).tool_calls[0].arguments))


@pytest.mark.parametrize("one", [{"required": 5}, {"type": {}}, {"properties": {"a": {"enum": 5}}, "required": ["a"]}])
def test_mistakes_in_alternatives_are_told_with_their_place(one):
    parameters = {"type": "object", "oneOf": [one, {"properties": {"a": {"const": 1}}, "required": ["a"]}]}
    with pytest.raises(ValueError, match=r"tools\[0\].parameters.oneOf"):
        tool_grammar([ToolSpec(name="tool", parameters=parameters, strict=True)])
