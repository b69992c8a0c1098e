"""Tools of a real MCP server, over stdio and HTTP, called by agents of the toolkits whose model the server serves."""

import asyncio
import sys
from pathlib import Path

import pytest
import stations
import uvicorn
from agents.mcp import MCPServerStdio, MCPServerStreamableHttp
from fastmcp.client.transports import StdioTransport
from pydantic_ai.mcp import MCPToolset
from serving import in_thread
from toolkits import APIS, TOOLKITS, ask

PROGRAM = str(Path(stations.__file__))
SECONDS = 120  # a busy machine starts processes slowly


@pytest.fixture(scope="module")
def mcp_address():
    with in_thread(uvicorn.Server(uvicorn.Config(stations.server.streamable_http_app(), log_level="warning"))) as base:
        yield f"{base}/mcp"


@pytest.fixture
def prompts(served, tokenizer):
    """The texts of all prompts since the model was last told what to say."""
    return lambda: [tokenizer.decode(ids) for ids, _ in served.service.requests]


def tools_of(toolkit, transport, mcp_address):
    """Return the MCP server in the wrapper of the toolkit."""
    if toolkit == "openai-agents":
        if transport == "stdio":
            params = {"command": sys.executable, "args": [PROGRAM]}
            return MCPServerStdio(params, client_session_timeout_seconds=SECONDS)
        return MCPServerStreamableHttp({"url": mcp_address}, client_session_timeout_seconds=SECONDS)
    client = StdioTransport(sys.executable, [PROGRAM]) if transport == "stdio" else mcp_address
    return MCPToolset(client, init_timeout=SECONDS, read_timeout=SECONDS)


def call(tool, station):
    return f'<tool_calls>\n{{"name": "{tool}", "arguments": {{"station": "{station}"}}}}\n</tool_calls>'


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_tools_of_an_mcp_server(address, say, prompts, mcp_address, toolkit, transport, api):
    say(call("pressure", "Oslo"), "1013 hPa.")
    mcp = tools_of(toolkit, transport, mcp_address)
    assert asyncio.run(ask(toolkit, address=address, api=api, mcp=mcp, stream=True)) == "1013 hPa."
    first, second = prompts()
    assert "Air pressure at a weather station, in hPa." in first
    assert "1013 hPa" in second.partition("tool name: pressure\ntool result: ")[2]


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_an_error_of_an_mcp_tool_reaches_the_model(address, say, prompts, mcp_address, toolkit):
    say(call("pressure", "Atlantis"), call("pressure", "Rome"), "1021 hPa.")
    mcp = tools_of(toolkit, "http", mcp_address)
    assert asyncio.run(ask(toolkit, address=address, api="responses", mcp=mcp)) == "1021 hPa."
    assert "no station 'Atlantis'; there are Oslo, Rome" in prompts()[1]
    assert "1021 hPa" in prompts()[2]


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_a_picture_from_an_mcp_tool_does_not_stop_the_agent(address, say, prompts, mcp_address, toolkit):
    say(call("photograph", "Oslo"), "I can't see pictures.")
    mcp = tools_of(toolkit, "http", mcp_address)
    assert asyncio.run(ask(toolkit, address=address, api="responses", mcp=mcp)) == "I can't see pictures."
    assert "[image: you can't see it, because you read text only; tell the user so]" in prompts()[1]
