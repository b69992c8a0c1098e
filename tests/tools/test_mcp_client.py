"""Tools of a real MCP server, over both transports: called, refused, cancelled, and dead in the middle."""

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from calling import call_of

from fulmen.tools.calculator import calculator
from fulmen.tools.function import plain_schema
from fulmen.tools.mcp_client import McpConnection
from fulmen.tools.mcp_endpoint import McpEndpoint
from fulmen.tools.registry import ToolRegistry
from fulmen.tools.tool import Tool

SERVER = Path(__file__).with_name("mcp_weather.py")
PATIENCE = 120.0
"""Seconds that starting a server may take on a busy machine."""
TOOLS = ("forecast", "wind", "process", "folder", "die", "fail", "picture", "flood", "wait", "weather_calculator")


@contextmanager
def http_server(port):
    """The server in a process, until the end of the block."""
    with subprocess.Popen(
        [sys.executable, SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            ends = time.monotonic() + PATIENCE
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert time.monotonic() < ends
                    time.sleep(0.05)
            yield process
        finally:
            process.kill()


@contextmanager
def endpoint_of(transport, **options):
    """An endpoint whose server can be reached in the block."""
    options = {"name": "weather", "timeout": PATIENCE, "connect_timeout": PATIENCE, **options}
    if transport == "stdio":
        yield McpEndpoint(command=(sys.executable, str(SERVER)), **options)
        return
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with http_server(port):
        yield McpEndpoint(url=f"http://127.0.0.1:{port}/mcp", **options)


both = pytest.mark.parametrize("transport", ["stdio", "http"])


@both
def test_calls_and_what_comes_of_them(transport, tmp_path):
    async def calls(endpoint):
        registry = ToolRegistry([calculator()], max_result_tokens=200)
        async with McpConnection(endpoint) as connection:
            assert await connection.attach(registry) == TOOLS

            async def content(name, arguments="{}"):
                result = await registry.call(call_of(name, arguments))
                return result.content, result.failed

            assert await content("forecast", {"city": "Rome"}) == ("Rome: sunny for 1 days", False)
            assert await content("wind", {"city": "Rome"}) == ('{"speed": 4, "gusts": 20}', False)
            assert await content("forecast", {"city": 3}) == (
                'Error: arguments.city: 3 is not of type "string"', True
            )  # fmt: skip
            text, failed = await content("fail")
            assert failed
            assert "fail" in text
            assert await content("picture") == ("(binary data: image/png, 100 bytes)", False)
            text, failed = await content("flood")
            assert len(text) <= 600
            assert await content("weather_calculator", {"expression": "1"}) == ("not ours", False)
            assert await content("calculator", {"expression": "1"}) == ('{"result": 1}', False)
            await cancel(registry, tmp_path / "waiting")
            results = await registry.call_all([call_of("forecast", {"city": city}) for city in "abcdef"])
            assert [result.content[0] for result in results] == list("abcdef")

    with endpoint_of(transport) as endpoint:
        asyncio.run(calls(endpoint))


async def cancel(registry, file):
    """A call that is cancelled is cancelled at the server too."""
    call = asyncio.create_task(registry.call(call_of("wait", {"file": str(file)})))
    await becomes(file, "waiting")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await becomes(file, "cancelled")


async def becomes(file, text):
    async with asyncio.timeout(PATIENCE):
        while not file.exists() or file.read_text() != text:
            await asyncio.sleep(0.02)


def test_a_server_is_started_in_its_folder(tmp_path):
    async def call(endpoint):
        registry = ToolRegistry()
        async with McpConnection(endpoint) as connection:
            await connection.attach(registry)
            return (await registry.call(call_of("folder"))).content

    with endpoint_of("stdio", cwd=str(tmp_path)) as endpoint:
        assert asyncio.run(call(endpoint)) == str(tmp_path)
    with (
        endpoint_of("stdio", cwd=str(tmp_path / "none")) as endpoint,
        pytest.raises(ConnectionError, match="'weather' can't be used: .*none"),
    ):
        asyncio.run(call(endpoint))


def test_a_server_that_dies_is_started_again_by_the_next_call():
    async def calls(endpoint):
        registry = ToolRegistry()
        async with McpConnection(endpoint) as connection:
            await connection.attach(registry)
            before = await registry.call(call_of("process"))
            dead = await registry.call(call_of("die"))
            assert dead.failed
            assert "broke off during the call" in dead.content
            assert "whether the call had an effect is not known" in dead.content
            after = await registry.call(call_of("process"))
            assert not after.failed
            assert after.content != before.content

    with endpoint_of("stdio") as endpoint:
        asyncio.run(calls(endpoint))


def test_several_calls_when_the_server_dies_all_end_and_start_it_once():
    async def calls(endpoint, file):
        registry = ToolRegistry()
        async with McpConnection(endpoint) as connection:
            await connection.attach(registry)
            waiting = [asyncio.create_task(registry.call(call_of("wait", {"file": str(file)}))) for _ in range(2)]
            await becomes(file, "waiting")
            ended = [await registry.call(call_of("die")), *[await task for task in waiting]]
            assert all(result.failed and "broke off" in result.content for result in ended)
            results = await registry.call_all([call_of("process")] * 3)
            assert len({result.content for result in results}) == 1
            assert not results[0].failed

    with endpoint_of("stdio") as endpoint:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(calls(endpoint, Path(folder) / "waiting"))


def test_an_http_server_that_is_gone_and_comes_back():
    async def calls(endpoint, port):
        registry = ToolRegistry()
        with http_server(port) as process:
            connection = McpConnection(endpoint)
            await connection.__aenter__()
            await connection.attach(registry)
            assert (await registry.call(call_of("die"))).failed
            await asyncio.to_thread(process.wait)
        gone = await registry.call(call_of("forecast", {"city": "Rome"}))
        assert gone.failed
        assert "'weather' can't be used" in gone.content
        assert "Go on without its tools" in gone.content
        with http_server(port):
            assert (await registry.call(call_of("forecast", {"city": "Rome"}))).content == "Rome: sunny for 1 days"
            await connection.__aexit__()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/mcp"
    endpoint = McpEndpoint(name="weather", url=url, timeout=PATIENCE, connect_timeout=PATIENCE)
    asyncio.run(calls(endpoint, port))


def test_a_call_that_takes_too_long_is_cancelled_at_the_server(tmp_path):
    async def calls(endpoint):
        registry = ToolRegistry()
        async with McpConnection(endpoint) as connection:
            await connection.attach(registry)
            result = await registry.call(call_of("wait", {"file": str(tmp_path / "waiting")}))
            assert "did not finish within 5 seconds" in result.content
            if (tmp_path / "waiting").exists():
                await becomes(tmp_path / "waiting", "cancelled")

    with endpoint_of("stdio", timeout=5.0) as endpoint:
        asyncio.run(calls(endpoint))


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        (McpEndpoint(name="x", command=("no-such-program",)), "'x' can't be used.*no-such-program"),
        (
            McpEndpoint(name="x", command=(sys.executable, "-c", "raise SystemExit('no key')"), connect_timeout=60),
            "it said: no key",
        ),
        (McpEndpoint(name="x", url="http://127.0.0.1:9/mcp"), "'x' can't be used"),
        (
            McpEndpoint(name="x", command=(sys.executable, "-c", "input(); input()"), connect_timeout=1),
            "no answer within 1 seconds",
        ),
    ],
)
def test_servers_that_can_not_be_used(endpoint, message):
    async def connect():
        async with McpConnection(endpoint):
            pass

    with pytest.raises(ConnectionError, match=message):
        asyncio.run(connect())


def test_a_server_that_wants_a_key_says_so():
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    async def connect(port):
        async with McpConnection(McpEndpoint(name="x", url=f"http://127.0.0.1:{port}/mcp")):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ConnectionError, match="'x' can't be used: .*status 401 Unauthorized"):
            asyncio.run(connect(server.server_port))
        server.shutdown()


@pytest.mark.parametrize(
    ("trusted", "dangerous"),
    [(True, {"fail"}), (False, set(TOOLS) - {"forecast", "weather_calculator"} | {"calculator"})],
)
def test_what_is_dangerous_depends_on_trust(trusted, dangerous):
    async def attached(endpoint):
        async with McpConnection(endpoint) as connection:
            registry = ToolRegistry()
            await connection.attach(registry)
            return {name for name in registry.names if registry.is_dangerous(name)}

    with endpoint_of("stdio", trusted=trusted) as endpoint:
        assert asyncio.run(attached(endpoint)) == dangerous


def test_a_tool_with_a_wrong_schema_is_left_out(caplog, monkeypatch):
    async def run(_arguments):
        return None

    def tool(name, schema):
        return Tool(name=name, description="", parameters=plain_schema(schema), run=run)

    async def tools(_self):
        return tool("good", {"type": "object"}), tool("bad", {"type": "object", "properties": {"a": {"type": "x"}}})

    monkeypatch.setattr(McpConnection, "tools", tools)
    connection = McpConnection(McpEndpoint(name="odd", command=("x",)))
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(connection.attach(ToolRegistry())) == ("good",)
    assert "bad.parameters.properties.a.type is 'x'" in caplog.text
