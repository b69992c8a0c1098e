"""Schemas of an OpenAPI document as JSON schemas that stand alone.

References into the document become references to `$defs`, which hold the schemas that are used and no others; a
schema that refers to itself stays as it is. What OpenAPI 3.0 writes in its own way is rewritten.
"""

from collections.abc import Mapping
from typing import Any

from fulmen.agents.openapi.references import References

_LEFT_OUT = (
    "example", "examples", "xml", "discriminator", "externalDocs", "deprecated", "nullable", "readOnly", "writeOnly",
)  # fmt: skip
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_DATA = ("enum", "const", "default", "required")
_MAX_DEFINITIONS = 200


class SchemaReader:
    """Translates the schemas of one tool's arguments.

    Example::

        reader = SchemaReader(document.data)
        reader.read({"$ref": "#/components/schemas/Pet"})  # {"$ref": "#/$defs/Pet"}
        reader.definitions  # {"Pet": {"type": "object", ...}}
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        """Read schemas of the document `data`."""
        self._references = References(data)
        self._names: dict[str, str] = {}
        self.definitions: dict[str, Any] = {}
        """What `$defs` must hold for the schemas that were read."""

    def read(self, schema: Any) -> Any:
        """Return a schema as JSON Schema of 2020-12.

        Raises:
            ValueError: a reference leads nowhere or out of the document.
        """
        if isinstance(schema, list):
            return [self.read(part) for part in schema]
        if not isinstance(schema, Mapping):
            return schema
        if isinstance(reference := schema.get("$ref"), str):
            return {"$ref": f"#/$defs/{self._definition(reference)}"}
        result: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _LEFT_OUT or key.startswith("x-"):
                continue
            if key in _NAMED and isinstance(value, Mapping):
                result[key] = {name: self.read(child) for name, child in value.items()}
            else:
                result[key] = value if key in _DATA else self.read(value)
        _modernise(result)
        return _nullable(result) if schema.get("nullable") is True else result

    def _definition(self, reference: str) -> str:
        if reference in self._names:
            return self._names[reference]
        if len(self._names) >= _MAX_DEFINITIONS:
            raise ValueError(f"its arguments refer to more than {_MAX_DEFINITIONS} schemas")
        schema = self._references.lookup(reference)
        name = reference.rpartition("/")[2].replace("~1", "_").replace("~0", "_")
        while name in self.definitions:
            name += "_"
        self._names[reference] = name
        self.definitions[name] = {}  # taken; a schema may refer to itself
        self.definitions[name] = self.read(schema)
        return name


def _modernise(schema: dict[str, Any]) -> None:
    """OpenAPI 3.0 says that a limit is exclusive by a boolean beside it."""
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and limit in schema:
            schema[exclusive] = schema.pop(limit)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}
