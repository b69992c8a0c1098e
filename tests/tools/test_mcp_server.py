"""Our registry as an MCP server, asked by the library's own client."""

import asyncio

import pytest
from mcp import Client

from fulmen.tools.calculator import CALCULATOR, calculator
from fulmen.tools.function import tool_from_function
from fulmen.tools.mcp_server import mcp_server
from fulmen.tools.registry import ToolRegistry


def delete(path: str) -> str:
    """Delete a file."""
    return f"{path} is deleted"


@pytest.fixture
def server():
    return mcp_server(ToolRegistry([calculator(), tool_from_function(delete, dangerous=True)]), version="1.2")


def test_tools_are_listed_with_what_they_do(server):
    async def listed():
        async with Client(server) as client:
            assert client.server_info.name == "fulmen"
            return (await client.list_tools()).tools

    ours, other = asyncio.run(listed())
    assert (ours.name, ours.description) == (CALCULATOR.name, CALCULATOR.description)
    assert ours.input_schema == CALCULATOR.parameters
    assert (ours.annotations.read_only_hint, ours.annotations.destructive_hint) == (True, False)
    assert (other.annotations.read_only_hint, other.annotations.destructive_hint) == (False, True)


@pytest.mark.parametrize(
    ("name", "arguments", "text", "failed"),
    [
        ("calculator", {"expression": "6 * 7"}, '{"result": 42}', False),
        ("calculator", {"expression": "6 *"}, "'6 *' is no arithmetic: invalid syntax at character 3", True),
        ("calculator", {}, 'arguments: "expression" is a required property', True),
        ("delete", {"path": "ä"}, "ä is deleted", False),
        (
            "delet",
            {"path": "a"},
            "there is no tool 'delet'; did you mean delete? The tools are: calculator, delete",
            True,
        ),
    ],
)
def test_calls(server, name, arguments, text, failed):
    async def called():
        async with Client(server) as client:
            return await client.call_tool(name, arguments)

    result = asyncio.run(called())
    assert ([block.text for block in result.content], result.is_error) == ([text], failed)
