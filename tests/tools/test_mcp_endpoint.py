"""Endpoints of MCP servers, from words and from files."""

import json

import pytest

from fulmen.tools.mcp_endpoint import McpEndpoint, endpoint_from_text, endpoints_from_file


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("w=python 'a b.py' --x=1", McpEndpoint(name="w", command=("python", "a b.py", "--x=1"))),
        ("/usr/bin/server.py --flag", McpEndpoint(name="server", command=("/usr/bin/server.py", "--flag"))),
        ("docs=https://example.org/mcp?a=b", McpEndpoint(name="docs", url="https://example.org/mcp?a=b")),
        ("http://127.0.0.1:8100/mcp", McpEndpoint(name="127.0.0.1", url="http://127.0.0.1:8100/mcp")),
        ("https://example.org/?key=1", McpEndpoint(name="example.org", url="https://example.org/?key=1")),
    ],
)
def test_words(text, endpoint):
    assert endpoint_from_text(text) == endpoint


@pytest.mark.parametrize("text", ["", "name=", "x='unclosed"])
def test_words_that_name_no_server(text):
    with pytest.raises(ValueError, match="MCP server"):
        endpoint_from_text(text)


def test_a_file(tmp_path):
    path = tmp_path / "mcp.json"
    files = {"command": "npx", "args": ["server", "/data"], "env": {"KEY": "1"}, "timeout": 5}
    docs = {"type": "http", "url": "https://example.org/mcp", "headers": {"Authorization": "Bearer x"}, "trusted": True}
    path.write_text(json.dumps({"mcpServers": {"files": files, "docs": docs}}))
    assert endpoints_from_file(path) == (
        McpEndpoint(name="files", command=("npx", "server", "/data"), env={"KEY": "1"}, timeout=5),
        McpEndpoint(
            name="docs", url="https://example.org/mcp", headers={"Authorization": "Bearer x"}, trusted=True
        ),
    )  # fmt: skip


def test_what_other_clients_write(tmp_path, caplog):
    path = tmp_path / "mcp.json"
    entry = {"type": "stdio", "command": "x", "timeout": 60, "disabled": False, "autoApprove": [], "alwaysAllow": []}
    servers = {
        "plain": entry,
        "off": {"command": "y", "disabled": True},
        "below": {"command": "x", "cwd": "data", "alwaysAllow": ["send"]},
        "elsewhere": {"command": "x", "cwd": "/srv", "autoApprove": ["send", "delete"]},
    }
    path.write_text(json.dumps({"mcpServers": servers}))
    assert endpoints_from_file(path) == (
        McpEndpoint(name="plain", command=("x",)),
        McpEndpoint(name="below", command=("x",), cwd=str(tmp_path / "data")),
        McpEndpoint(name="elsewhere", command=("x",), cwd="/srv"),
    )
    off, below, elsewhere = (record.getMessage() for record in caplog.records)
    assert off == f"MCP server 'off' is left out: {path} says that it is disabled"
    assert "mcpServers.below.alwaysAllow has no effect" in below
    assert "mcpServers.elsewhere.autoApprove has no effect" in elsewhere


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "no object mcpServers"),
        ('{"mcpServers": {"a": 3}}', "mcpServers.a must be an object"),
        ('{"mcpServers": {"a": {"comand": "x"}}}', "mcpServers.a.comand is not known; did you mean command"),
        ('{"mcpServers": {"a": {"command": "x", "disabledTools": ["y"]}}}', "disabledTools is not known"),
        ('{"mcpServers": {"a": {"command": "x", "disabled": "no"}}}', "disabled must be true or false"),
        ('{"mcpServers": {"a": {"command": "x", "cwd": 1}}}', "cwd must be a string"),
        ('{"mcpServers": {"a": {"command": ["x"]}}}', "mcpServers.a.command must be a string"),
        ('{"mcpServers": {"a": {"command": "x", "args": [1]}}}', "mcpServers.a has 1 where a string"),
        ('{"mcpServers": {"a": {"command": "x", "timeout": true}}}', "timeout must be a number"),
        ('{"mcpServers": {"a": {"command": "x", "timeout": 0}}}', "must be positive"),
        ('{"mcpServers": {"a": {"url": "http://x/sse", "type": "sse"}}}', "give the server's streamable HTTP address"),
        ('{"mcpServers": {"a": {}}}', "'a' needs a command or a URL"),
        ('{"mcpServers": {"a": {"url": "https://x", "command": "x"}}}', "and not both"),
        ('{"mcpServers": {"a": {"url": "ftp://x"}}}', "is no http or https address"),
    ],
)
def test_files_that_say_nothing(tmp_path, content, message):
    path = tmp_path / "mcp.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        endpoints_from_file(path)
