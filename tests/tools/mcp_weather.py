"""A real MCP server for the tests, over stdio or streamable HTTP: `python mcp_weather.py [PORT]`."""

import asyncio
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import Image, MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("weather")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def forecast(city: str, days: int = 1) -> str:
    """Weather of a city."""
    return f"{city}: sunny for {days} days"


@server.tool()
def wind(city: str) -> dict[str, int]:
    """Wind in a city, which the library sends as structured content and again as indented text."""
    return {"speed": len(city), "gusts": 20}


@server.tool()
def process() -> str:
    """Number of this process."""
    return str(os.getpid())


@server.tool()
def folder() -> str:
    """Where this process was started."""
    return os.getcwd()


@server.tool()
def die() -> str:
    """End in the middle of the call."""
    os._exit(3)


@server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True))
def fail() -> str:
    """Raise."""
    raise ValueError("no such station")


@server.tool()
def picture() -> Image:
    """A picture."""
    return Image(data=b"\x89PNG" + bytes(96), format="png")


@server.tool()
def flood() -> str:
    """Very much text."""
    return "rain " * 200_000


@server.tool()
async def wait(file: str) -> str:
    """Wait, and write into a file what became of it."""
    Path(file).write_text("waiting")
    try:
        await asyncio.sleep(600)
    except BaseException:
        Path(file).write_text("cancelled")
        raise
    return "done"


@server.tool()
def calculator(expression: str) -> str:
    """Another calculator."""
    return "not ours"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
