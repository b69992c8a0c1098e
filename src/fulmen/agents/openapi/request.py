"""Arguments of a tool to an HTTP request, each parameter written as the document's `style` and `explode` say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fulmen.agents.openapi.document import FORM, Operation, Parameter
from fulmen.tools.tool import ToolError

_SEPARATORS = {"spaceDelimited": " ", "pipeDelimited": "|"}


@dataclass(slots=True)
class ApiRequest:
    """A request, ready to be sent.

    Example: `ApiRequest(method="GET", url="https://pets.test/v1/pets/7", query=[("fields", "name")])`.
    """

    method: str
    url: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    media_type: str | None = None
    body: Any = None


def build_request(operation: Operation, names: Mapping[str, Parameter], arguments: Mapping[str, Any]) -> ApiRequest:
    """Return the request that a call asks for.

    Args:
        operation: what is called.
        names: the parameters by the names that the tool has for them.
        arguments: of the call, checked against the tool's schema; `body` is the request's body.

    Raises:
        ToolError: a value can't stand in its place.
    """
    path = operation.path
    request = ApiRequest(method=operation.method, url="")
    for name, value in arguments.items():
        parameter = names.get(name)
        if parameter is None or value is None:
            continue
        if parameter.place == "path":
            path = path.replace(f"{{{parameter.name}}}", _path_value(name, parameter, value))
        elif parameter.place == "query":
            request.query += _query_pairs(parameter, value)
        else:
            kept = request.headers if parameter.place == "header" else request.cookies
            kept[parameter.name] = _one_line(name, _joined(parameter, value))
    if "{" in path:
        raise ToolError(f"the path {path} lacks a value")
    request.url = operation.base_url.rstrip("/") + "/" + path.lstrip("/")
    if operation.body is not None and "body" in arguments:
        request.media_type, request.body = operation.body.media_type, arguments["body"]
        if request.media_type == FORM:
            request.body = _form(arguments["body"])
    return request


def _form(body: Any) -> dict[str, Any]:
    if not isinstance(body, Mapping):
        raise ToolError("arguments.body must be an object: it is sent as a form")
    return {
        key: [_text(item) for item in value] if isinstance(value, list) else _text(value) for key, value in body.items()
    }


def _path_value(name: str, parameter: Parameter, value: Any) -> str:
    text = _joined(parameter, value)
    if text in ("", ".", ".."):  # it would lead to another path than the document's
        raise ToolError(f"arguments.{name} is {text!r}, which can't stand in a path")
    return quote(text, safe="")


def _query_pairs(parameter: Parameter, value: Any) -> list[tuple[str, str]]:
    name = parameter.name
    if parameter.as_json:
        return [(name, _text(value, as_json=True))]
    if isinstance(value, list):
        if parameter.explode and parameter.style == "form":
            return [(name, _text(item)) for item in value]
        return [(name, _SEPARATORS.get(parameter.style, ",").join(map(_text, value)))]
    if isinstance(value, Mapping):
        if parameter.style == "deepObject":
            return [(f"{name}[{key}]", _text(item)) for key, item in value.items()]
        if parameter.explode:
            return [(key, _text(item)) for key, item in value.items()]
    return [(name, _joined(parameter, value))]


def _joined(parameter: Parameter, value: Any) -> str:
    """A value in one text, lists and objects joined by commas."""
    if parameter.as_json:
        return _text(value, as_json=True)
    if isinstance(value, list):
        return ",".join(map(_text, value))
    if isinstance(value, Mapping):
        pairs = value.items()
        return ",".join(f"{key}={_text(item)}" if parameter.explode else f"{key},{_text(item)}" for key, item in pairs)
    return _text(value)


def _text(value: Any, *, as_json: bool = False) -> str:
    if isinstance(value, str) and not as_json:
        return value
    return json.dumps(value, ensure_ascii=False)


def _one_line(name: str, text: str) -> str:
    """A line break in a header would begin another header."""
    if not text.isprintable():
        raise ToolError(f"arguments.{name} must be one line of printable text")
    return text
