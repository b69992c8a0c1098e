"""The registry: whatever a model or a tool does wrong ends as a message that says so."""

import asyncio
import socket
import sys
import threading
import time

import pytest
from calling import answer, call_of

from fulmen.chat.message import Message
from fulmen.tools.function import tool_from_function
from fulmen.tools.registry import ToolRegistry
from fulmen.tools.tool import Tool, ToolError

NUMBER = {"type": "number"}
OBJECT = {"type": "object", "properties": {}}


def tool(run, name="tool", parameters=OBJECT, **options):
    async def awaited(arguments):
        return run(arguments)

    return Tool(name=name, description="", parameters=parameters, run=awaited, **options)


def adder(name="add"):
    parameters = {"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]}
    return tool(lambda arguments: arguments["a"] + arguments["b"], name=name, parameters=parameters)


def test_a_call_and_its_message():
    result = answer(ToolRegistry([adder()]), "add", {"a": 1, "b": 2})
    assert (result.content, result.failed) == ("3", False)
    assert result.message() == Message(role="tool", content="3", tool_call_id="call_1", name="add")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("ad", '{"a": 1, "b": 2}', ["no tool 'ad'", "did you mean add", "add, divide"]),
        ("nonsense", "{}", ["no tool", "The tools are: add, divide"]),
        ("add", '{"a": 1', ["no valid JSON", "line 1 column"]),
        ("add", '{"a": NaN, "b": 1}', ["NaN is no JSON value"]),
        ("add", "[1, 2]", ["must be one JSON object", "[1, 2]"]),
        ("add", '{"a": "1", "b": 2}', ['arguments.a: "1" is not of type "number"']),
        ("add", '{"a": 1}', ['arguments: "b" is a required property']),
        ("add", "", ['"a" is a required property']),
        ("add", "[" * 100_000, ["nested too deep"]),
        ("add", '{"a": ' + "[" * 500 + "]" * 500 + "}", ["nested too deep"]),
        ("add", r'{"a": "\ud83d", "b": 1}', ["half a character"]),
    ],
)
def test_calls_that_make_no_sense(name, arguments, words):
    result = answer(ToolRegistry([adder(), adder("divide")]), name, arguments)
    assert result.failed
    for word in words:
        assert word in result.content
    assert len(result.content) < 500


PATTERN = {"pattern": "^(a+)+$"}


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"properties": {"a": PATTERN}}, 'arguments.a: "aaa'),
        ({"propertyNames": PATTERN}, 'arguments: "aaa'),
        ({"patternProperties": {"^(b|b)+$": False}, "additionalProperties": PATTERN}, "arguments."),
        ({"patternProperties": {PATTERN["pattern"]: True}, "additionalProperties": False}, "('aaa"),
        ({"patternProperties": {PATTERN["pattern"]: True}, "unevaluatedProperties": False}, "('aaa"),
    ],
)
@pytest.mark.timeout(60)
def test_no_pattern_takes_long(schema, complaint):
    trap = "a" * 50 + "!"
    registry = ToolRegistry([tool(lambda _: "ran", parameters=schema)])
    result = answer(registry, "tool", {"a": trap, trap: trap, "b" * 50 + "!": trap})
    assert result.failed
    assert complaint in result.content


def test_a_complaint_shows_the_pattern():
    registry = ToolRegistry([tool(lambda _: "ran", parameters={"properties": {"a": PATTERN}})])
    assert answer(registry, "tool", {"a": "aab"}).content == 'Error: arguments.a: "aab" does not match "^(a+)+$"'


def test_a_schema_of_itself_asks_for_nothing():
    registry = ToolRegistry([tool(lambda _: "ran", parameters={"$ref": "#"})])
    assert answer(registry, "tool", {"a": 1}).content == "ran"


@pytest.mark.parametrize("key", ["$dynamicRef", "unevaluatedProperties"])
def test_nothing_is_fetched_for_a_schema(key):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/schema"
        schema = {"properties": {}, key: address if key == "$dynamicRef" else {"$ref": address}}
        with pytest.raises(ValueError, match=f"no JSON schema: Resource '{address}'"):
            ToolRegistry([tool(lambda _: "ran", parameters=schema)])
        with pytest.raises(TimeoutError):
            listener.accept()


def test_no_tools_at_all():
    assert "no tools at all" in answer(ToolRegistry(), "add").content


def test_several_complaints_come_together_and_none_is_endless():
    result = answer(ToolRegistry([adder()]), "add", {"a": "x" * 10_000, "b": []})
    assert "arguments.a" in result.content
    assert "arguments.b: [] is not" in result.content
    assert len(result.content) < 1000


def raising(error):
    def run(_arguments):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "content"),
    [
        (ToolError("name a city"), "Error: name a city"),
        (KeyError("x"), "Error: tool failed: KeyError: 'x'"),
        (TimeoutError(), "Error: tool failed: TimeoutError"),
        (SystemExit(3), "Error: tool failed: SystemExit: 3"),
        (ExceptionGroup("several", [ValueError("first"), KeyError("x")]), "Error: tool failed: ValueError: first"),
        (RecursionError("deep"), "Error: tool failed: RecursionError: deep"),
        (asyncio.CancelledError(), "Error: tool was interrupted"),
    ],
)
def test_a_tool_that_crashes(error, content):
    result = answer(ToolRegistry([tool(raising(error))]), "tool")
    assert (result.content, result.failed) == (content, True)


def test_a_function_that_ends_its_thread():
    def leave() -> None:
        sys.exit(3)

    def stop() -> None:
        raise StopIteration

    registry = ToolRegistry([tool_from_function(leave), tool_from_function(stop)])
    assert answer(registry, "leave").content == "Error: leave failed: RuntimeError: SystemExit: 3"
    assert answer(registry, "stop").failed


def test_a_tool_that_hangs_is_left_alone():
    hanging = threading.Event()

    def hang() -> None:
        hanging.wait(60)

    async def sleep() -> None:
        await asyncio.sleep(60)

    registry = ToolRegistry([tool_from_function(hang, timeout=0.05), tool_from_function(sleep)], timeout=0.05)
    for name in ("hang", "sleep"):
        assert "did not finish within 0.05 seconds" in answer(registry, name).content
    hanging.set()


def test_a_hanging_thread_does_not_keep_python_from_ending():
    import subprocess

    program = """
import asyncio, time
from fulmen.chat.message import ToolCall
from fulmen.tools.function import tool_from_function
from fulmen.tools.registry import ToolRegistry
def hang() -> None: time.sleep(1000)
registry = ToolRegistry([tool_from_function(hang)], timeout=0.1)
print(asyncio.run(registry.call(ToolCall(id="", name="hang", arguments=""))).failed)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=250, check=True)
    assert done.stdout == "True\n"


def test_a_tool_that_floods():
    registry = ToolRegistry([tool(lambda _: "0123456789" * 10_000_000)], max_result_tokens=100)
    content = answer(registry, "tool").content
    assert len(content) <= 300
    assert content.startswith("0123")
    assert content.endswith("6789")
    assert "of 100000000 characters are left out" in content


def test_a_failure_that_floods():
    registry = ToolRegistry([tool(raising(ToolError("no! " * 1_000_000)))], max_result_tokens=100)
    assert len(answer(registry, "tool").content) <= 300


def test_binary_is_described():
    png = b"\x89PNG\r\n\x1a\n" + bytes(2000)
    registry = ToolRegistry([tool(lambda _: png), tool(lambda _: {"image": png, "text": b"hi"}, name="nested")])
    assert answer(registry, "tool").content == "(binary data: a PNG image, 2008 bytes)"
    assert answer(registry, "nested").content == (
        '{"image": "(binary data: a PNG image, 2008 bytes)", "text": "hi"}'
    )  # fmt: skip


def test_what_can_not_be_written_down():
    class Strange:
        pass

    circle = []
    circle.append(circle)
    registry = ToolRegistry([tool(lambda _: Strange()), tool(lambda _: circle, name="circle")])
    assert answer(registry, "tool").content == '"(Strange)"'
    assert "circle failed" in answer(registry, "circle").content


def test_calls_run_side_by_side_and_keep_their_order():
    together = threading.Barrier(3, timeout=60)

    def meet(number: int) -> int:
        together.wait()
        return number

    registry = ToolRegistry([tool_from_function(meet)])
    calls = [call_of("meet", {"number": number}, call_id=str(number)) for number in (3, 1, 2)]
    results = asyncio.run(registry.call_all(calls))
    assert [result.content for result in results] == ["3", "1", "2"]
    assert [result.call.id for result in results] == ["3", "1", "2"]


def test_no_more_than_so_many_at_once():
    running, most = 0, 0

    async def run(_arguments):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    registry = ToolRegistry([Tool(name="t", description="", parameters=OBJECT, run=run)], max_parallel=2)
    asyncio.run(registry.call_all([call_of("t")] * 7))
    assert most == 2


def test_cancelling_reaches_the_tool():
    events = []

    async def run(_arguments):
        events.append("started")
        try:
            await asyncio.sleep(60)
        finally:
            events.append("stopped")

    async def cancelled():
        registry = ToolRegistry([Tool(name="t", description="", parameters=OBJECT, run=run)])
        calls = asyncio.create_task(registry.call_all([call_of("t"), call_of("t")]))
        while len(events) < 2:
            await asyncio.sleep(0)
        calls.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls

    asyncio.run(cancelled())
    assert events == ["started", "started", "stopped", "stopped"]


def test_a_blocking_function_does_not_block_the_loop():
    release = threading.Event()

    def wait() -> str:
        return "released" if release.wait(60) else "stuck"

    async def both():
        registry = ToolRegistry([tool_from_function(wait)])
        call = asyncio.create_task(registry.call(call_of("wait")))
        await asyncio.sleep(0)
        release.set()
        return (await call).content

    assert asyncio.run(both()) == "released"


def test_names_that_clash_get_the_source_before_them():
    registry = ToolRegistry([adder()])
    assert registry.add(adder(), source="math.server") == "math_server_add"
    assert [spec.name for spec in registry.specs()] == ["add", "math_server_add"]
    assert answer(registry, "math_server_add", {"a": 1, "b": 1}).content == "2"
    with pytest.raises(ValueError, match="math_server_add already"):
        registry.add(adder(), source="math.server")
    with pytest.raises(ValueError, match="add already"):
        registry.add(adder())
    registry.remove("add")
    assert registry.add(adder(), source="other") == "add"


def test_names_are_such_as_a_model_may_write():
    registry = ToolRegistry()
    assert registry.add(adder("files/read file")) == "files_read_file"
    assert registry.add(adder("x" * 100)) == "x" * 64


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"type": "array"}, "t.parameters.type"),
        ({"type": "object", "properties": {"a": {"type": "strng"}}}, "t.parameters.properties.a.type is 'strng'"),
        ({"type": "object", "properties": {"a": {"minimum": "0"}}}, "t.parameters.properties.a.minimum"),
        ({"type": "object", "properties": {"a": {"$ref": "http://x/y"}}}, "only references into the same schema"),
        (
            {"properties": {"a": {"$ref": "#nowhere"}}},
            "t.parameters is no JSON schema: Anchor 'nowhere' does not exist",
        ),
        (
            {"properties": {"a": {"pattern": "("}}},
            't.parameters.properties.a.pattern is no JSON schema: "[(]" is not a',
        ),
        ({"patternProperties": {"(a{1000}){1000}": True}}, 'is not a "regex", or one that is too large'),
    ],
)
def test_wrong_schemas_are_refused_when_offered(parameters, message):
    with pytest.raises(ValueError, match=message):
        ToolRegistry([tool(None, name="t", parameters=parameters)])


def test_dangerous_tools_are_known():
    registry = ToolRegistry([tool(None, name="safe"), tool(None, name="delete", dangerous=True)])
    assert [registry.is_dangerous(name) for name in ("safe", "delete", "unknown")] == [False, True, False]


def test_a_result_is_cut_beside_the_event_loop():
    threads = []

    def count(text):
        threads.append(threading.current_thread())
        return len(text)

    answer(ToolRegistry([tool(lambda _: ["x" * 9000] * 3)], max_result_tokens=100, count_tokens=count), "tool", {})
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("options", [{"timeout": 0}, {"max_result_tokens": 10}, {"max_parallel": 0}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ToolRegistry(**options)


def test_nobody_waits_for_a_closed_loop():
    def late() -> None:
        time.sleep(0.05)

    async def leave():
        task = asyncio.create_task(ToolRegistry([tool_from_function(late)]).call(call_of("late")))
        await asyncio.sleep(0.01)
        task.cancel()

    failures = []
    previous, threading.excepthook = threading.excepthook, failures.append
    try:
        asyncio.run(leave())
        for thread in threading.enumerate():
            if thread.name == "tool":
                thread.join(10)
    finally:
        threading.excepthook = previous
    assert failures == []
