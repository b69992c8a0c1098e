"""Check a JSON schema of a request where a grammar would be made of it, and say where it is wrong.

The grammar compiler knows what it can't express, but not the place; this catches the ordinary mistakes with their
path, as in `tools[0].parameters.properties.city.type is 'strng'`.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_UNSUPPORTED = (
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "propertyNames", "uniqueItems",
    "dependentSchemas", "dependentRequired", "dependencies", "unevaluatedProperties", "unevaluatedItems",
    "$dynamicRef", "$dynamicAnchor", "$recursiveRef",
)  # fmt: skip
_COUNTS = ("minProperties", "maxProperties")
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
_MAX_DEPTH = 64
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_SIZES = {  # whole numbers, and the most that each may be
    "minLength": 2**32 - 1, "maxLength": 2**32 - 1,  # the grammar compiler's regular expressions count no further
    "minItems": 2**63 - 1, "maxItems": 2**63 - 1,
}  # fmt: skip
_LIMITS = (  # the lower, the upper, whether they may be equal
    ("minimum", "maximum", True), ("minimum", "exclusiveMaximum", False), ("exclusiveMinimum", "maximum", False),
    ("exclusiveMinimum", "exclusiveMaximum", False), ("minLength", "maxLength", True), ("minItems", "maxItems", True),
)  # fmt: skip
_PATTERN_PIECE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?<?[=!]|.", re.DOTALL)


def check_schema(schema: object, where: str, *, strict: bool = False) -> None:
    """Walk a JSON schema.

    Args:
        schema: what should be a schema.
        where: its place in the request, to begin the message with.
        strict: refuse keywords that a grammar can't express; a schema read leniently passes over them.

    Raises:
        ValueError: the first mistake, with its path.
    """
    pending: list[tuple[object, str, int]] = [(schema, where, 0)]
    while pending:
        node, path, depth = pending.pop()
        if isinstance(node, bool):
            continue
        if not isinstance(node, Mapping):
            raise ValueError(f"{path} must be a schema (an object or a boolean), not {node!r:.60}")
        if depth > _MAX_DEPTH:
            raise ValueError(f"{path} is nested more than {_MAX_DEPTH} deep")
        _check_keywords(node, path)
        if strict:
            _check_expressible(node, path)
        if isinstance(node.get("$ref"), str):
            _check_reference(schema, node["$ref"], f"{path}.$ref")
        for key in _SCHEMA_MAPS:
            pending += [(child, f"{path}.{key}.{name}", depth + 1) for name, child in node.get(key, {}).items()]
        for key in _SCHEMA_LISTS:
            pending += [(child, f"{path}.{key}[{index}]", depth + 1) for index, child in enumerate(node.get(key, ()))]
        pending += [(node[key], f"{path}.{key}", depth + 1) for key in _SCHEMAS if key in node]


def for_grammar(schema: Any) -> Any:
    """Return a checked schema without what the grammar compiler would stumble over and need not know.

    To JSON Schema, formats that it does not know are mere annotations. Bounds on the number of properties may hold
    anyway; those that no grammar holds have been refused, unless the schema is read leniently.
    """
    if not isinstance(schema, Mapping):
        return schema
    implied, unheld = _counts(schema)
    result = {
        key: value
        for key, value in schema.items()
        if key not in implied and key not in unheld and (key != "format" or value in _FORMATS)
    }
    for key in _SCHEMA_MAPS:
        if key in result:
            result[key] = {name: for_grammar(child) for name, child in result[key].items()}
    for key in _SCHEMA_LISTS:
        if key in result:
            result[key] = [for_grammar(child) for child in result[key]]
    return result | {key: for_grammar(result[key]) for key in _SCHEMAS if key in result}


def _check_keywords(node: Mapping[str, Any], path: str) -> None:
    types = node.get("type", [])
    for kind in types if isinstance(types, list) else [types]:
        if kind not in _TYPES:
            raise ValueError(f"{path}.type is {kind!r:.60}; it must be one of {', '.join(_TYPES)}")
    _check_limits(node, path)
    for key in _SCHEMA_MAPS:
        if not isinstance(node.get(key, {}), Mapping):
            raise ValueError(f"{path}.{key} must be an object of schemas, not {node[key]!r:.60}")
    for key in _SCHEMA_LISTS:
        if key in node and not (isinstance(node[key], list) and node[key]):
            raise ValueError(f"{path}.{key} must be a non-empty list of schemas, not {node[key]!r:.60}")
    required = node.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise ValueError(f"{path}.required must be a list of names, not {required!r:.60}")
    if "enum" in node and not (isinstance(node["enum"], list) and node["enum"]):
        raise ValueError(f"{path}.enum must be a non-empty list, not {node['enum']!r:.60}")
    for key in ("$ref", "pattern", "format"):
        if not isinstance(node.get(key, ""), str):
            raise ValueError(f"{path}.{key} must be a string, not {node[key]!r:.60}")
    for key in _COUNTS:
        value = node.get(key, 0)
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{path}.{key} must be a number that is not negative, not {value!r:.60}")
    _check_pattern(node.get("pattern", ""), f"{path}.pattern")
    for pattern in node.get("patternProperties", {}):
        _check_pattern(pattern, f"{path}.patternProperties")


def _check_expressible(node: Mapping[str, Any], path: str) -> None:
    """Refuse what the grammar compiler can't express, or accepts and does not hold."""
    if unsupported := [key for key in _UNSUPPORTED if key in node]:
        raise ValueError(f"{path}.{unsupported[0]} is not supported: no grammar can be made of it")
    alternatives = node.get("oneOf", ())
    for index, one in enumerate(alternatives):
        if isinstance(one, Mapping):
            _check_keywords(one, f"{path}.oneOf[{index}]")
    if not all(_exclude_each_other(one, other) for one, other in itertools.combinations(alternatives, 2)):
        raise ValueError(
            f"{path}.oneOf is not supported where a value may fit two of its schemas: no grammar can be made of it; "
            "anyOf says the same if none does"
        )
    if unheld := _counts(node)[1]:
        raise ValueError(
            f"{path}.{unheld[0]} is not supported here: a grammar can bound the number of properties only where all "
            "that are named are required, and ask for no more than one other"
        )


def _counts(node: Mapping[str, Any]) -> tuple[set[str], list[str]]:
    """The bounds on the number of properties that hold anyway, and those that no grammar of the compiler's holds.

    It counts a name that is written twice as two, which only names can be that the schema leaves open.
    """
    required, named = set(node.get("required", ())), set(node.get("properties", ()))
    is_closed = node.get("additionalProperties") is False and "patternProperties" not in node
    least = node.get("minProperties", 0)
    implied = {"minProperties"} if least <= len(required) else set()
    if is_closed and node.get("maxProperties", 0) >= len(named):
        implied.add("maxProperties")
    left = [key for key in _COUNTS if key in node and key not in implied]
    if is_closed:
        is_held = not required and all(node[key] == 1 for key in left)
    else:
        is_held = named <= required and least <= len(required) + 1
    return implied, [] if is_held else left


def _exclude_each_other(one: object, other: object) -> bool:
    """Whether no value fits both, as is seen from their types, the strings that they list, or an object's properties.

    An object fits one alone that requires a name which the other has no place for, or another value of the same name.
    """
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return False
    if not _types(one) & _types(other) or _are_other_strings(_values(one), _values(other)):
        return True
    if _requires_unknown_name(one, other) or _requires_unknown_name(other, one):
        return True
    for name in set(one.get("required", ())) & set(other.get("required", ())):
        values = [_values(schema.get("properties", {}).get(name)) for schema in (one, other)]
        if all(values) and not any(value in values[1] for value in values[0]):
            return True
    return False


def _are_other_strings(some: list[Any], others: list[Any]) -> bool:
    strings = all(isinstance(value, str) for value in (*some, *others))
    return strings and bool(some) and bool(others) and not set(some) & set(others)


def _requires_unknown_name(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    is_closed = other.get("additionalProperties") is False and "patternProperties" not in other
    objects = _types(one) == _types(other) == {"object"}
    return objects and is_closed and not set(one.get("required", ())) <= set(other.get("properties", ()))


def _types(schema: Mapping[str, Any]) -> set[str]:
    types = schema.get("type", _TYPES)
    found = {types} if isinstance(types, str) else set(types)
    return found | {"integer"} if "number" in found else found


def _values(schema: object) -> list[Any]:
    """The values that a schema lists; none if it lists none."""
    if not isinstance(schema, Mapping):
        return []
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return values if isinstance(values, list) else []


def _check_pattern(pattern: str, path: str) -> None:
    for piece in _PATTERN_PIECE.findall(pattern):
        if piece.startswith("(?") or re.fullmatch(r"\\[1-9k]", piece):
            raise ValueError(f"{path} has {piece}: look-around and back-references are not supported")


def _check_limits(node: Mapping[str, Any], path: str) -> None:
    # In the drafts before 6, exclusiveMinimum and exclusiveMaximum are true or false: no limits of their own.
    given = {key: node[key] for key in node if not (key.startswith("exclusive") and isinstance(node[key], bool))}
    for key in _NUMBERS:
        if key in given and (isinstance(given[key], bool) or not isinstance(given[key], int | float)):
            raise ValueError(f"{path}.{key} must be a number, not {given[key]!r:.60}")
    if given.get("multipleOf", 1) <= 0:
        raise ValueError(f"{path}.multipleOf is {given['multipleOf']!r:.60}; it must be above 0")
    for key, most in _SIZES.items():
        value = given.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ValueError(f"{path}.{key} is {value!r:.60}; it must be a whole number from 0 to {most}")
    for low, high, may_be_equal in _LIMITS:
        if low not in given or high not in given:
            continue
        if given[low] > given[high] or (given[low] == given[high] and not may_be_equal):
            raise ValueError(f"{path}.{low} is {given[low]} and {high} is {given[high]}: no value fits both")


def _check_reference(root: object, reference: str, path: str) -> None:
    if not reference.startswith("#"):
        raise ValueError(f"{path} is {reference!r}; only references into the same schema (#/...) are supported")
    node: Any = root
    for step in reference[1:].split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            raise ValueError(f"{path} is {reference!r}, which does not exist")
