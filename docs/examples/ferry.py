"""A small MCP server with tools that no model was trained on.

fulmen agent "When are the ferries from Brackwater?" --mcp ferry="python docs/examples/ferry.py"
"""

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations
from pydantic import Field

server = MCPServer("ferry")
READ_ONLY = ToolAnnotations(read_only_hint=True)


@server.tool(annotations=READ_ONLY)
def ferry_times(harbor: Annotated[str, Field(description="a place")]) -> dict[str, str]:
    """Get the times of the ferries from a harbor."""
    return {"first_ferry": "06:40", "last_ferry": "21:15", "platform": f"{harbor[:1].upper()}2"}


@server.tool(annotations=READ_ONLY)
def ticket_price(passengers: int, cars: int = 0) -> dict[str, int]:
    """Get the price of ferry tickets."""
    return {"price": 7 * passengers + 22 * cars}


if __name__ == "__main__":
    server.run()
