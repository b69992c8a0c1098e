"""A real MCP server: `stations.py` speaks over stdio, `server` can be served over HTTP."""

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("stations")

PRESSURE = {"Oslo": 1013, "Rome": 1021}


@server.tool()
def pressure(station: str) -> str:
    """Air pressure at a weather station, in hPa."""
    if station not in PRESSURE:
        raise ToolError(f"no station {station!r}; there are {', '.join(PRESSURE)}")
    return f"{PRESSURE[station]} hPa"


@server.tool()
def photograph(station: str) -> Image:
    """What the camera of a weather station sees now."""
    return Image(data=b"\x89PNG\r\n\x1a\n", format="png")


if __name__ == "__main__":
    server.run("stdio")
