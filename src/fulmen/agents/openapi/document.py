"""An OpenAPI document (3.0 or 3.1, JSON or YAML) as a list of operations."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fulmen.agents.openapi.references import References

Place = Literal["path", "query", "header", "cookie"]
_PLACES: Mapping[str, Place] = {"path": "path", "query": "query", "header": "header", "cookie": "cookie"}
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
FORM = "application/x-www-form-urlencoded"
_IGNORED_HEADERS = {"accept", "content-type", "authorization"}  # the standard says so


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A parameter of an operation.

    Example: `Parameter(name="petId", place="path", required=True, schema={"type": "integer"})`.
    """

    name: str
    place: Place
    required: bool
    schema: Mapping[str, Any]
    """As the document has it."""
    description: str = ""
    style: str = "simple"
    explode: bool = False
    as_json: bool = False
    """The value is written as JSON, as the document gives it a `content` instead of a schema."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """The request body of an operation.

    Example: `Body(media_type="application/json", required=True, schema={"$ref": "#/components/schemas/Pet"})`.
    """

    media_type: str
    required: bool
    schema: Mapping[str, Any]
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One thing that the service can do.

    Example: `Operation(name="getPet", method="GET", path="/pets/{petId}", base_url="https://pets.test/v1", ...)`.
    """

    name: str
    """The `operationId`, or method and path."""
    method: str
    path: str
    base_url: str
    description: str
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None


@dataclass(frozen=True, kw_only=True)
class ApiDocument:
    """A document that was read.

    Example: `load_document(Path("pets.json")).operations[0].name` is "listPets".
    """

    title: str
    description: str
    data: Mapping[str, Any] = field(repr=False)
    operations: tuple[Operation, ...]
    skipped: tuple[str, ...]
    """Operations that no tool can be made of, each with the reason."""


def load_document(path: Path, *, base_url: str | None = None) -> ApiDocument:
    """Read a document.

    Args:
        path: a file of JSON or YAML.
        base_url: where the service is, instead of what the document's `servers` say.

    Raises:
        ValueError: it can't be read or used; the message says where.
    """
    try:
        data = _parse(path)
        version = str(data.get("openapi", data.get("swagger", "")))
        if not version.startswith("3."):
            what = f"of version {version}" if version else "without an `openapi` field"
            raise ValueError(f"it is a document {what}; OpenAPI 3.0 and 3.1 are read")
        if base_url is not None:
            _check_url(base_url, "the base URL")
        reader = _Reader(data, base_url)
        operations = tuple(reader.operations())
        if not operations:
            raise ValueError("; ".join(["it describes no operation that can be called", *reader.skipped]))
        info = data.get("info")
        info = info if isinstance(info, Mapping) else {}
        return ApiDocument(
            title=str(info.get("title", path.stem)),
            description=str(info.get("description", "")),
            data=data,
            operations=operations,
            skipped=tuple(reader.skipped),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            import yaml
        except ImportError:
            raise ValueError("YAML needs the package `pyyaml`: pip install 'fulmen[agents]'") from None

        class Loader(yaml.SafeLoader):
            """Leaves dates the texts that they are in JSON."""

        Loader.yaml_implicit_resolvers = {
            first: [(tag, form) for tag, form in pairs if tag != "tag:yaml.org,2002:timestamp"]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }
        try:
            data = yaml.load(text, Loader=Loader)
        except yaml.YAMLError as error:
            raise ValueError(f"it is no YAML: {error}") from None
    else:
        data = json.loads(text)
    if not isinstance(data, Mapping):
        raise ValueError("it must hold an object")
    return data


class _Reader:
    """Walks the paths of a document; references are followed inside the document only."""

    def __init__(self, data: Mapping[str, Any], base_url: str | None) -> None:
        self._data = data
        self._base_url = base_url
        self._references = References(data)
        self.skipped: list[str] = []

    def operations(self) -> Iterator[Operation]:
        """The operations that can be called; the others go to `skipped`."""
        paths = self._data.get("paths")
        if not isinstance(paths, Mapping):
            raise ValueError("paths must be an object")
        for path, item in paths.items():
            item = self._object(item, f"paths.{path}")
            for method in _METHODS:
                if method not in item:
                    continue
                where = f"{method.upper()} {path}"
                try:
                    yield self._operation(path, method, item, self._object(item[method], where))
                except ValueError as error:
                    self.skipped.append(f"{where}: {error}")

    def _operation(self, path: str, method: str, item: Mapping[str, Any], operation: Mapping[str, Any]) -> Operation:
        parameters: dict[tuple[str, str], Parameter] = {}
        for holder in (item, operation):  # what the operation says beats what its path says
            for entry in self._list(holder.get("parameters"), "parameters"):
                parameter = self._parameter(self._object(entry, "parameters"))
                if parameter is not None:
                    parameters[parameter.name, parameter.place] = parameter
        texts = (operation.get("summary"), operation.get("description"))
        return Operation(
            name=str(operation.get("operationId") or f"{method}_{path}"),
            method=method.upper(),
            path=path,
            base_url=self._base_url or self._server(operation, item, self._data),
            description="\n".join(str(text).strip() for text in texts if text) or f"{method.upper()} {path}",
            parameters=tuple(parameters.values()),
            body=self._body(operation.get("requestBody")),
        )

    def _parameter(self, entry: Mapping[str, Any]) -> Parameter | None:
        name, place = entry.get("name"), _PLACES.get(str(entry.get("in")))
        if not isinstance(name, str) or place is None:
            raise ValueError(f"a parameter needs a name and a place, not {name!r:.60} in {entry.get('in')!r:.60}")
        if place == "header" and name.lower() in _IGNORED_HEADERS:
            return None
        style = str(entry.get("style", "form" if place in ("query", "cookie") else "simple"))
        schema, as_json = entry.get("schema", {}), False
        if isinstance(content := entry.get("content"), Mapping) and content:
            schema, as_json = self._object(next(iter(content.values())), "content").get("schema", {}), True
        return Parameter(
            name=name,
            place=place,
            required=bool(entry.get("required")) or place == "path",
            schema=schema if isinstance(schema, Mapping) else {},
            description=str(entry.get("description", "")),
            style=style,
            explode=bool(entry.get("explode", style == "form")),
            as_json=as_json,
        )

    def _body(self, entry: object) -> Body | None:
        if entry is None:
            return None
        body = self._object(entry, "requestBody")
        content = self._object(body.get("content", {}), "requestBody.content")
        for media_type, media in content.items():
            kind = media_type.partition(";")[0].strip().lower()
            if kind in ("application/json", FORM) or kind.endswith("+json"):
                schema = media.get("schema") if isinstance(media, Mapping) else None
                return Body(
                    media_type=kind,
                    required=bool(body.get("required")),
                    schema=schema if isinstance(schema, Mapping) else {},
                    description=str(body.get("description", "")),
                )
        if body.get("required"):
            raise ValueError(f"its body is {' or '.join(content) or 'of no type'}; JSON and forms are supported")
        return None

    def _server(self, *holders: Mapping[str, Any]) -> str:
        """The first server that the operation, its path or the document names."""
        servers = next((self._list(holder["servers"], "servers") for holder in holders if holder.get("servers")), [])
        if not servers:
            raise ValueError("the document names no server: give a base URL")
        server = self._object(servers[0], "servers[0]")
        url = str(server.get("url", ""))
        for name, variable in self._object(server.get("variables") or {}, "servers[0].variables").items():
            default = self._object(variable, f"servers[0].variables.{name}").get("default", "")
            url = url.replace(f"{{{name}}}", str(default))
        _check_url(url, "its server's URL")
        return url

    def _list(self, node: object, where: str) -> list[Any]:
        """Return a list of the document; what is left empty is an empty one."""
        if not isinstance(node, list | None):
            raise ValueError(f"{where} must be a list, not {node!r:.60}")
        return node or []

    def _object(self, node: object, where: str) -> Mapping[str, Any]:
        """Return an object of the document, behind its reference if it is one."""
        seen = set()
        while isinstance(node, Mapping) and isinstance(reference := node.get("$ref"), str):
            if reference in seen:
                raise ValueError(f"{reference} refers to itself")
            seen.add(reference)
            node = self._references.lookup(reference)
        if not isinstance(node, Mapping):
            raise ValueError(f"{where} must be an object, not {node!r:.60}")
        return node


def _check_url(url: str, what: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{what} is {url!r}, which is no whole http or https URL: give a base URL")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{what} is {url!r}; it may have no user, query or fragment")
