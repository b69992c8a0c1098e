"""The operations of a document as tools."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from fulmen.agents.openapi.client import ApiClient
from fulmen.agents.openapi.document import ApiDocument, Operation, Parameter
from fulmen.agents.openapi.request import build_request
from fulmen.agents.openapi.schema import SchemaReader
from fulmen.tools.tool import Tool

_MAX_NAME, _MAX_DESCRIPTION = 64, 1000
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")


def api_tools(
    document: ApiDocument, client: ApiClient, *, only: Collection[str] = ()
) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """Make a tool of each operation. Those that only read are safe, the others dangerous.

    Args:
        document: describes the operations.
        client: sends their requests.
        only: names of the tools to make; empty: all.

    Returns:
        The tools, and the operations that were left out though they were wanted, each with the reason.

    Raises:
        ValueError: a name of `only` is no operation's.
    """
    operations: dict[str, Operation] = {}
    for operation in document.operations:
        operations[_tool_name(operation.name, operations)] = operation
    if missing := [name for name in only if name not in operations]:
        raise ValueError(f"the API has no operation {missing[0]!r}; it has: {', '.join(operations)}")
    tools: list[Tool] = []
    skipped = [] if only else list(document.skipped)
    for name in only or operations:
        operation = operations[name]
        try:
            tools.append(_tool(name, operation, document.data, client))
        except ValueError as error:
            skipped.append(f"{operation.method} {operation.path}: {error}")
    return tuple(tools), tuple(skipped)


def _tool(name: str, operation: Operation, data: Mapping[str, Any], client: ApiClient) -> Tool:
    reader = SchemaReader(data)
    names = _argument_names(operation)
    properties: dict[str, Any] = {}
    for argument, parameter in names.items():
        properties[argument] = _described(reader.read(parameter.schema), parameter.description)
    required = [argument for argument, parameter in names.items() if parameter.required]
    if operation.body is not None:
        properties["body"] = _described(reader.read(operation.body.schema), operation.body.description)
        if operation.body.required:
            required.append("body")
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    if reader.definitions:
        schema["$defs"] = reader.definitions

    async def run(arguments: Mapping[str, Any]) -> object:
        return await client.send(build_request(operation, names, arguments))

    return Tool(
        name=name,
        description=operation.description[:_MAX_DESCRIPTION],
        parameters=schema,
        run=run,
        dangerous=operation.method not in _SAFE_METHODS,
    )


def _argument_names(operation: Operation) -> dict[str, Parameter]:
    """Parameters of one name in two places, or named like the body, get their place before the name."""
    counts = Counter(parameter.name for parameter in operation.parameters)
    names = {}
    for parameter in operation.parameters:
        clash = counts[parameter.name] > 1 or (parameter.name == "body" and operation.body is not None)
        names[f"{parameter.place}_{parameter.name}" if clash else parameter.name] = parameter
    return names


def _described(schema: Any, description: str) -> Any:
    if not description or (isinstance(schema, Mapping) and schema.get("description")):
        return schema
    if isinstance(schema, Mapping) and "$ref" not in schema:
        return {**schema, "description": description}
    return {"allOf": [schema], "description": description}


def _plain_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:_MAX_NAME] or "operation"


def _tool_name(name: str, taken: Collection[str]) -> str:
    plain = candidate = _plain_name(name)
    number = 2
    while candidate in taken:
        ending = f"_{number}"
        candidate = plain[: _MAX_NAME - len(ending)] + ending
        number += 1
    return candidate
