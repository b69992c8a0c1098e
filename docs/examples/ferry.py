"""A small MCP server with tools that no model was trained on.

fulmen agent "Find the ferry in Brackwater." --mcp ferry="python docs/examples/ferry.py"
"""

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations
from pydantic import Field

server = MCPServer("ferry")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def find_ferry(harbor: Annotated[str, Field(description="a place")]) -> dict[str, str]:
    """Find the last ferry of the day from a harbor."""
    return {"departure": "21:15" if harbor == "Brackwater" else "none"}


@server.tool()
def reserve_seats(passengers: int, cars: int = 0) -> dict[str, str]:
    """Reserve seats on the ferry."""
    return {"reservation": f"F-{100 * passengers + cars}"}


if __name__ == "__main__":
    server.run()
