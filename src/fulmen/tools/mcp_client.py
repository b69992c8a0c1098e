"""Tools of MCP servers, over stdio or streamable HTTP.

    call (any task) -> McpConnection -> Client of the `mcp` library, owned by one task, the keeper
                            |
                            +-- lost? the next call starts a new keeper, once

The library wants a connection opened and closed by the same task, so a task of its own keeps it. A server that dies
ends the call with an error the model can read; whether the call took effect nobody knows, so it is not repeated.
"""

import asyncio
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import IO, Any

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from mcp.types import Tool as ServerTool

from fulmen.tools.content import as_text
from fulmen.tools.function import plain_schema
from fulmen.tools.mcp_endpoint import McpEndpoint
from fulmen.tools.registry import ToolRegistry
from fulmen.tools.tool import Tool, ToolError

_log = logging.getLogger(__name__)
_PROBE_SECONDS = 5.0
_CLOSE_SECONDS = 10.0
_LAST_WORDS = 400
_BROKEN = (MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError)


class McpConnection:
    """A connection to an MCP server, for as long as the context lasts.

    Example::

        async with McpConnection(endpoint_from_text("weather=python weather_server.py")) as connection:
            await connection.attach(registry)
            result = await registry.call(call)
    """

    def __init__(self, endpoint: McpEndpoint) -> None:
        self.endpoint = endpoint
        self._client: Client | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._connecting = asyncio.Lock()
        self._stderr: IO[str] | None = None
        self._refusal = ""

    async def __aenter__(self) -> "McpConnection":
        """Connect; ConnectionError says why it did not work."""
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect; a server that was started here is stopped."""
        await self._disconnect()

    async def tools(self) -> tuple[Tool, ...]:
        """The server's tools, as it lists them now.

        Raises:
            ConnectionError: the server does not answer, or has no tools.
        """
        client = await self._connected()
        listed: list[ServerTool] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(self.endpoint.connect_timeout):
                while True:
                    page = await client.list_tools(cursor=cursor, cache_mode="refresh")
                    listed += page.tools
                    cursor = page.next_cursor
                    if cursor is None:
                        return tuple(map(self._tool, listed))
        except (*_BROKEN, TimeoutError) as error:
            reason = f"the MCP server {self.endpoint.name!r} does not list its tools: {_said(error)}"
            raise ConnectionError(reason) from error

    async def attach(self, registry: ToolRegistry) -> tuple[str, ...]:
        """Offer all of the server's tools; returns the names under which they are offered.

        A tool whose schema is wrong is left out, with a warning in the log: it would spoil every request.
        """
        names = []
        for tool in await self.tools():
            try:
                names.append(registry.add(tool, source=self.endpoint.name))
            except ValueError as error:
                _log.warning("A tool of MCP server %r is left out: %s", self.endpoint.name, error)
        return tuple(names)

    def _tool(self, tool: ServerTool) -> Tool:
        hints = tool.annotations
        read_only = hints is not None and hints.read_only_hint is True
        destructive = hints is not None and hints.destructive_hint is True
        schema = {key: value for key, value in plain_schema(tool.input_schema).items() if key != "$schema"}
        return Tool(
            name=tool.name,
            description=tool.description or tool.title or "",
            parameters=schema,
            run=partial(self._call, tool.name),
            dangerous=not read_only and (destructive or not self.endpoint.trusted),
            timeout=self.endpoint.timeout,
        )

    async def _call(self, name: str, arguments: Mapping[str, Any]) -> object:
        try:
            client = await self._connected()
        except ConnectionError as error:
            raise ToolError(f"{error}. Go on without its tools") from error
        try:
            result = await client.call_tool(name, dict(arguments))
        except _BROKEN as error:
            if await _alive(client):
                raise ToolError(f"the MCP server refused the call: {_said(error)}") from error
            self._client = None
            raise ToolError(
                f"the MCP server {self.endpoint.name!r} broke off during the call ({_said(error)}); whether the call "
                "had an effect is not known. The next call connects again"
            ) from error
        text = _as_text(result)
        if result.is_error:
            raise ToolError(text)
        return text

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None or self._keeper is None or self._keeper.done():
                await self._disconnect()
                await self._connect()
            assert self._client is not None
            return self._client

    async def _connect(self) -> None:
        opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(opened), name=f"MCP server {self.endpoint.name}")
        either: set[asyncio.Future[Any]] = {self._keeper, opened}
        try:
            await asyncio.wait(either, timeout=self.endpoint.connect_timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not opened.done():
                self._keeper.cancel()
                opened.cancel()
        if not opened.cancelled():
            self._client = opened.result()
            return
        with suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait({self._keeper}, timeout=_CLOSE_SECONDS)
        reason = f"no answer within {self.endpoint.connect_timeout:g} seconds{self._last_words()}"
        if self._keeper.done() and not self._keeper.cancelled() and (error := self._keeper.exception()) is not None:
            reason = _said(error)
        raise ConnectionError(f"the MCP server {self.endpoint.name!r} can't be used: {reason}")

    async def _disconnect(self) -> None:
        self._closing.set()
        self._client = None
        if self._keeper is not None:
            done, _ = await asyncio.wait({self._keeper}, timeout=_CLOSE_SECONDS)
            if not done:
                self._keeper.cancel()
            elif not self._keeper.cancelled():
                self._keeper.exception()  # it has been reported by the call that noticed

    async def _keep(self, opened: "asyncio.Future[Client]") -> None:
        async with AsyncExitStack() as stack:
            endpoint = self.endpoint
            if endpoint.command:
                self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
                stack.enter_context(self._stderr)
                program, *arguments = endpoint.command
                parameters = StdioServerParameters(
                    command=program, args=arguments, env=dict(endpoint.env), cwd=endpoint.cwd or None
                )
                client = Client(stdio_client(parameters, errlog=self._stderr))
            else:
                timeout = httpx2.Timeout(endpoint.connect_timeout, read=endpoint.timeout)
                http = httpx2.AsyncClient(
                    headers=dict(endpoint.headers), timeout=timeout, event_hooks={"response": [self._note_refusal]}
                )
                await stack.enter_async_context(http)
                client = Client(streamable_http_client(endpoint.url, http_client=http))
            try:
                entered = await stack.enter_async_context(client)
            except Exception as error:
                raise ConnectionError(_said(error) + self._last_words()) from error
            if not opened.cancelled():
                opened.set_result(entered)
            await self._closing.wait()

    async def _note_refusal(self, response: httpx2.Response) -> None:
        """Keep the status of an error, of which the library says only that there was one."""
        if response.is_error:
            self._refusal = f" (status {response.status_code} {response.reason_phrase})"

    def _last_words(self) -> str:
        """Usually why a server can't be used: the end of what it wrote to stderr, or its status."""
        if self.endpoint.url:
            return self._refusal
        if self._stderr is None or self._stderr.closed:
            return ""
        self._stderr.seek(0)
        words = self._stderr.read().strip()[-_LAST_WORDS:]
        return f"; it said: {words}" if words else ""


async def _alive(client: Client) -> bool:
    """Whether the server still answers: an error of the protocol does not say so by itself."""
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await client.list_tools(cache_mode="bypass")
    except (*_BROKEN, TimeoutError, RuntimeError):
        return False
    return True


def _as_text(result: CallToolResult) -> str:
    """One text; structured content in one line, though servers repeat it, indented, for clients that can't read it."""
    structured = result.structured_content
    if structured is not None and (not result.content or _repeats(result.content, structured)):
        return as_text(structured)
    return "\n".join(map(_block_as_text, result.content)) or as_text(None)


def _repeats(content: Sequence[ContentBlock], structured: Any) -> bool:
    """Whether the texts say what the structure says: one says all, or each says an item of the only list in it."""
    texts = [block.text for block in content if isinstance(block, TextContent)]
    if len(texts) < len(content):
        return False
    match list(structured.values()) if isinstance(structured, Mapping) else [structured]:
        case [list(items)] if len(items) == len(texts) and all(map(_says, texts, items)):
            return True
    return len(texts) == 1 and _says(texts[0], structured)


def _says(text: str, value: object) -> bool:
    if text == value:
        return True
    with suppress(ValueError, RecursionError):
        return bool(json.loads(text) == value)
    return False


def _block_as_text(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return as_text(block.text)
        case ImageContent() | AudioContent():
            return _described(block.mime_type, block.data)
        case ResourceLink():
            return f"(resource {block.name}: {block.uri})"
        case EmbeddedResource():
            held = block.resource
            if isinstance(held, TextResourceContents):
                return as_text(held.text)
            return _described(held.mime_type or "of unknown kind", held.blob)


def _described(kind: str, base64: str) -> str:
    return f"(binary data: {kind}, {len(base64) * 3 // 4 - base64[-2:].count('=')} bytes)"


def _said(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
