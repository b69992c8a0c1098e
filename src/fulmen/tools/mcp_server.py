"""Our tools for other agents: an MCP server around a registry, over stdio or streamable HTTP."""

import json
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp.types import Tool as ServerTool

from fulmen.chat.message import ToolCall
from fulmen.tools.registry import ToolRegistry


def mcp_server(registry: ToolRegistry, *, version: str = "") -> "Server[Any]":
    """Make a server that offers the tools of a registry; its checks, limits and messages hold for its clients too.

    Example: `mcp_server(registry).streamable_http_app()` is an ASGI application that answers at `/mcp`.
    """

    async def list_tools(_context: object, _params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(
            tools=[
                ServerTool(
                    name=spec.name,
                    description=spec.description,
                    input_schema=dict(spec.parameters),
                    annotations=ToolAnnotations(
                        read_only_hint=not registry.is_dangerous(spec.name),
                        destructive_hint=registry.is_dangerous(spec.name),
                    ),
                )
                for spec in registry.specs()
            ]
        )

    async def call_tool(_context: object, params: CallToolRequestParams) -> CallToolResult:
        call = ToolCall(id="", name=params.name, arguments=json.dumps(params.arguments or {}, ensure_ascii=False))
        result = await registry.call(call)
        text = result.content.removeprefix("Error: ") if result.failed else result.content
        return CallToolResult(content=[TextContent(type="text", text=text)], is_error=result.failed)

    return Server("fulmen", version=version, on_list_tools=list_tools, on_call_tool=call_tool)


async def serve_stdio(server: "Server[Any]") -> None:
    """Serve the one client at the other end of stdin and stdout, until it goes away."""
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
