"""`fulmen mcp serve` as a process, for an agent that starts it and for agents that come over HTTP."""

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest

from fulmen.chat.message import ToolCall
from fulmen.tools.mcp_client import McpConnection
from fulmen.tools.mcp_endpoint import McpEndpoint
from fulmen.tools.registry import ToolRegistry

COMMAND = (sys.executable, "-m", "fulmen", "mcp", "serve")
PATIENCE = 250.0
ENVIRONMENT = {key: os.environ[key] for key in ("PYTHONPATH", "FULMEN_HOME", "OMP_NUM_THREADS") if key in os.environ}


def ask(endpoint, *calls):
    """Connect and make calls; returns the names of the tools and the contents."""

    async def asked():
        registry = ToolRegistry()
        async with McpConnection(endpoint) as connection:
            names = await connection.attach(registry)
            made = [ToolCall(id="", name=name, arguments=json.dumps(arguments)) for name, arguments in calls]
            return names, [result.content for result in await registry.call_all(made)]

    return asyncio.run(asked())


def stdio(*arguments):
    command = (*COMMAND, *map(str, arguments))
    return McpEndpoint(
        name="fulmen", command=command, env=ENVIRONMENT, timeout=PATIENCE, connect_timeout=PATIENCE
    )  # fmt: skip


def test_a_model_and_tools_over_stdio(checkpoint, tmp_path):
    (tmp_path / "notes.md").write_text("# Paris\nThe capital of France.\n")
    names, (said, found) = ask(
        stdio("--tools", f"documents:{tmp_path}", "--model", checkpoint),
        ("chat", {"message": "Hi"}),
        ("search_documents", {"query": "capital"}),
    )
    assert names == ("search_documents", "read_file", "chat")
    assert said  # what a random model says is anybody's guess
    assert not said.startswith("Error:")
    assert found == "[notes.md:1-2] (Paris)\n# Paris\nThe capital of France."


@contextmanager
def serving(*arguments, **environment):
    """Run the server; yields its address."""
    command = [*COMMAND, *map(str, arguments), "--http", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
        try:
            line = process.stderr.readline()
            yield re.search(r"http://\S+/mcp", line)[0]
        finally:
            process.kill()


def test_tools_over_http_for_who_has_a_key():
    with serving("--tools", "calculator", FULMEN_API_KEYS="one,two") as url:
        options = {"url": url, "timeout": PATIENCE, "connect_timeout": PATIENCE}
        endpoint = McpEndpoint(name="fulmen", headers={"Authorization": "Bearer two"}, **options)
        assert ask(endpoint, ("calculator", {"expression": "6 * 7"})) == (("calculator",), ['{"result": 42}'])
        with pytest.raises(ConnectionError):
            ask(McpEndpoint(name="fulmen", **options))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to offer: give --tools or --model"),
        (["--tools", "abacus"], "no built-in tools are called 'abacus'"),
        (["--endpoint", "http://127.0.0.1:8000/v1", "--tools", "calculator"], "--endpoint needs --model"),
        (["--tools", "calculator", "--port", "8100"], "--port needs --http"),
        (["--tools", "calculator", "--host", "0.0.0.0"], "--host needs --http"),
        (["--tools", "calculator", "--api-keys", "one"], "--api-keys needs --http"),
    ],
)
def test_options_that_make_no_sense(arguments, message):
    done = subprocess.run([*COMMAND, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
