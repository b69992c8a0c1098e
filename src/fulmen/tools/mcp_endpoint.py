"""Where an MCP server is: a command to start, or the address of one that runs.

Read from a word on the command line (`docs=https://example.org/mcp`, `files=npx some-server /data`) or from the
JSON file with `mcpServers` that other clients use too.
"""

import difflib
import json
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class McpEndpoint:
    """An MCP server: either a command, spoken to over its stdin and stdout, or a URL of streamable HTTP.

    Example: `McpEndpoint(name="weather", command=("python", "weather_server.py"))`.
    """

    name: str
    """Stands before the name of a tool that clashes with another."""
    command: tuple[str, ...] = ()
    url: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    """Of the command, beside PATH, HOME and the like; nothing else of our environment is passed on."""
    cwd: str = ""
    """The folder in which the command is started; ours without it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of requests to the URL, such as Authorization."""
    trusted: bool = False
    """Its tools count as dangerous only where the server says so; else all do that it does not call read-only."""
    timeout: float = 60.0
    """Seconds for a call."""
    connect_timeout: float = 30.0
    """Seconds until it has answered for the first time."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise ValueError(f"MCP server {self.name!r} needs a command or a URL, and not both")
        if self.url and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(f"MCP server {self.name!r}: {self.url!r} is no http or https address")
        if self.timeout <= 0 or self.connect_timeout <= 0:
            raise ValueError(f"MCP server {self.name!r}: timeout and connect_timeout must be positive")


def endpoint_from_text(text: str) -> McpEndpoint:
    """Read `name=command with arguments`, `name=URL`, or either without a name.

    Example: `endpoint_from_text("docs=https://example.org/mcp").name` is "docs"; without `docs=` it would be
    "example.org".

    Raises:
        ValueError: nothing follows the name, or quotes don't match.
    """
    head, equals, rest = text.partition("=")
    named = equals and head.strip().replace("-", "_").isidentifier()
    place = (rest if named else text).strip()
    if place.startswith(("http://", "https://")):
        return McpEndpoint(name=head.strip() if named else urlsplit(place).hostname or "mcp", url=place)
    try:
        command = tuple(shlex.split(place))
    except ValueError as error:
        raise ValueError(f"the MCP server {text!r} can't be read: {error}") from error
    if not command:
        raise ValueError(f"the MCP server {text!r} has neither a command nor a URL")
    return McpEndpoint(name=head.strip() if named else PurePath(command[0]).stem, command=command)


def endpoints_from_file(path: Path) -> tuple[McpEndpoint, ...]:
    """Read the servers of a JSON file.

    Example of a file::

        {"mcpServers": {"files": {"command": "npx", "args": ["some-server", "/data"], "env": {"KEY": "..."}},
                        "docs": {"url": "https://example.org/mcp", "trusted": true}}}

    A relative `cwd` is below the file's folder. A server with `"disabled": true` is left out, and the log says so. What
    other clients allow without asking (`autoApprove`, `alwaysAllow`) is not allowed here; the log says that too.

    Raises:
        OSError: it can't be read.
        ValueError: it is no such file; the message names the server and the key.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    servers = data.get("mcpServers") if isinstance(data, Mapping) else None
    if not isinstance(servers, Mapping):
        raise ValueError(f"{path} has no object mcpServers")
    endpoints = []
    for name, entry in servers.items():
        endpoint = _endpoint(name, entry, f"{path}: mcpServers.{name}", path.resolve().parent)
        if entry.get("disabled"):
            _log.warning("MCP server %r is left out: %s says that it is disabled", name, path)
        else:
            endpoints.append(endpoint)
    return tuple(endpoints)


def _endpoint(name: str, entry: Any, where: str, folder: Path) -> McpEndpoint:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} must be an object")
    numbers = ("timeout", "connect_timeout")
    for key, value in entry.items():
        if key in numbers:
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ValueError(f"{where}.{key} must be a number of seconds, not {value!r:.60}")
        elif key not in _KEYS:
            near = difflib.get_close_matches(key, [*_KEYS, *numbers], n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"{where}.{key} is not known; {hint}Known are {', '.join([*_KEYS, *numbers])}")
        elif not isinstance(value, _KEYS[key]):
            raise ValueError(f"{where}.{key} must be {_KINDS[_KEYS[key]]}, not {value!r:.60}")
        elif key in _CONSENT and value:
            _log.warning(
                "%s.%s has no effect: dangerous tools are asked about here, unless --yes names them", where, key
            )
    if entry.get("type") == "sse":
        raise ValueError(f"{where}.type is 'sse', which MCP has given up: give the server's streamable HTTP address")
    args = [entry["command"], *entry.get("args", [])] if "command" in entry else []
    for word in (*args, *entry.get("env", {}).values(), *entry.get("headers", {}).values()):
        if not isinstance(word, str):
            raise ValueError(f"{where} has {word!r:.60} where a string is needed")
    given = {key: entry[key] for key in ("url", "env", "headers", "trusted", *numbers) if key in entry}
    cwd = str(folder / Path(entry["cwd"]).expanduser()) if "cwd" in entry else ""
    return McpEndpoint(name=name, command=tuple(args), cwd=cwd, **given)


_CONSENT = ("autoApprove", "alwaysAllow")
"""Tools that other clients call without asking. Here the file has no say in that."""
_KEYS: dict[str, Any] = {
    "command": str, "args": list, "env": Mapping, "cwd": str, "url": str, "headers": Mapping, "trusted": bool,
    "disabled": bool, "type": str, **dict.fromkeys(_CONSENT, list),
}  # fmt: skip
_KINDS: dict[Any, str] = {str: "a string", list: "a list", Mapping: "an object", bool: "true or false"}
