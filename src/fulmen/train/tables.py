"""TOML tables to frozen dataclasses, by the annotations of their fields: a field is written once, in its dataclass.

Each complaint names the table, the key and what would have been right, because a training run that quietly ignores a
misspelt key costs hours.
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def read_table(kind: type[T], table: object, where: str, *, base: Path) -> T:
    """Make a dataclass from a table; its own checks run too.

    A field may be a number, a string, a truth value, a `Path`, a literal, a dataclass (a table), a tuple (an array),
    a mapping from strings, any of these or None, or one of several dataclasses, told apart by their literal `kind` or
    by which has most of the table's keys. A field named with an underscore at its end is a key without it: `from_` is
    `from`.

    Args:
        kind: the dataclass.
        table: what TOML gave.
        where: names the table in complaints, as in `stage[0].optimizer`; empty for the whole file.
        base: the folder that relative paths start from.

    Raises:
        ValueError: a key is unknown or missing, or its value is of the wrong kind.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} must be a table, not {_described(table)}")
    fields = {field.name.rstrip("_"): field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"its keys are {', '.join(fields)}"
            raise ValueError(f"{where or 'the file'} has no key {key!r}: {hint}")
    missing = [key for key, field in fields.items() if key not in table and _is_required(field)]
    if missing:
        raise ValueError(f"{where or 'the file'} lacks {', '.join(map(repr, missing))}")
    hints = get_type_hints(kind)
    values = {}
    for key, value in table.items():
        name = fields[key].name
        values[name] = _read(hints[name], value, f"{where}.{key}" if where else key, base)
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _read(hint: Any, value: object, where: str, base: Path) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _read_union([a for a in arguments if a is not type(None)], value, where, base)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where} is {value!r}; it must be one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _read_array(arguments, value, where, base)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be a table, not {_described(value)}")
        return {key: _read(arguments[1], item, f"{where}.{key}", base) for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read_table(hint, value, where, base=base)
    return _read_scalar(hint, value, where, base)


def _read_scalar(hint: Any, value: object, where: str, base: Path) -> Any:
    wanted = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", Path: "a path"}[hint]
    given: Any = {float: (float, int), Path: str}.get(hint, hint)
    if not isinstance(value, given) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{where} must be {wanted}, not {_described(value)}")
    if hint is Path:
        return base / Path(str(value)).expanduser()
    return hint(value)


def _read_array(arguments: tuple[Any, ...], value: object, where: str, base: Path) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be an array, not {_described(value)}")
    if arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise ValueError(f"{where} must be an array of {len(arguments)} values, not of {len(value)}")
    hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
    return tuple(
        _read(hint, item, f"{where}[{i}]", base) for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _read_union(kinds: list[Any], value: object, where: str, base: Path) -> Any:
    """Several dataclasses are told apart by the literal of their field `kind`, or else by the keys of the table."""
    if len(kinds) == 1:
        return _read(kinds[0], value, where, base)
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a table, not {_described(value)}")
    if "kind" not in get_type_hints(kinds[0]):
        names = [{field.name.rstrip("_") for field in dataclasses.fields(kind)} for kind in kinds]
        near = [sum(bool(difflib.get_close_matches(key, own, n=1, cutoff=0.7)) for key in value) for own in names]
        best = near.index(max(near))
        return read_table(kinds[best], value, where, base=base)
    by_name = {get_args(get_type_hints(kind)["kind"])[0]: kind for kind in kinds}
    name = value.get("kind")
    if name not in by_name:
        given = "lacks 'kind'" if name is None else f"has the kind {name!r}"
        raise ValueError(f"{where} {given}; it must be one of {', '.join(map(repr, by_name))}")
    return read_table(by_name[name], value, where, base=base)


def _described(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | str):
        return f"the {'string' if isinstance(value, str) else 'number'} {value!r}"
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "a table"
    return f"the {type(value).__name__} {value}"
