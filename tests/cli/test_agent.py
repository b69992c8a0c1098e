"""`fulmen agent` as a user calls it: the model is scripted behind HTTP, tools and transcripts are real."""

import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest
import scripted_endpoint
from pseudo_terminal import Terminal
from scripted_endpoint import Refuse, Say, call
from typer.testing import CliRunner

from fulmen.cli.app import app

COMMAND = (sys.executable, "-c", "from fulmen.cli import main; main()", "agent")

# An MCP server whose tools leave marks: `count` returns at once, `wait` and the dangerous `launch` stay until killed.
SERVER = """
import asyncio, pathlib, sys
from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

folder = pathlib.Path(sys.argv[1])
server = MCPServer("marks")

def mark(name):
    with (folder / name).open("a") as file:
        file.write("x")

@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def count() -> str:
    "Count."
    mark("count")
    return "counted"

@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def wait() -> str:
    "Wait."
    mark("wait")
    if not (folder / "go").exists():
        await asyncio.sleep(60)
    return "waited"

@server.tool()
async def launch() -> str:
    "Launch."
    mark("launch")
    if not (folder / "go").exists():
        await asyncio.sleep(60)
    return "launched"

server.run()
"""


@pytest.fixture(scope="module")
def server():
    with scripted_endpoint.running() as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(server, tmp_path, monkeypatch):
    monkeypatch.setenv("FULMEN_HOME", str(tmp_path / "home"))
    server.say()
    return server


@pytest.fixture
def agent(endpoint):
    """Run the command without a terminal; returns typer's result."""

    def agent(*arguments, endpoint_too=True):
        given = [*map(str, arguments), *(("--endpoint", endpoint.address) if endpoint_too else ())]
        return CliRunner().invoke(app, ["agent", *given])

    return agent


@pytest.fixture
def marks(tmp_path):
    """A folder of marks, and the option that starts the server which leaves them."""
    folder = tmp_path / "marks"
    folder.mkdir()
    (tmp_path / "server.py").write_text(SERVER)
    entry = {"command": sys.executable, "args": [str(tmp_path / "server.py"), str(folder)], "connect_timeout": 200}
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": {"marks": entry}}))
    return folder, ("--mcp", tmp_path / "servers.json")


def count(folder, name):
    return len((folder / name).read_text()) if (folder / name).exists() else 0


def test_the_answer_goes_to_stdout_and_the_steps_to_stderr(endpoint, agent, tmp_path):
    endpoint.say(Say("I add.", thinking="A sum.", calls=(call("calculator", expression="2+3"),)), "It is 5.")
    result = agent("What is 2+3?", "--tools", "calculator", "--transcript", tmp_path / "run.jsonl")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "It is 5.\n"
    for text in ("Task: What is 2+3?", "A sum.", "I add.", "-> calculator", '{"result": 5}', "It is 5.", "run.jsonl"):
        assert text in result.stderr
    assert endpoint.results() == ['{"result": 5}']
    assert stat.S_IMODE((tmp_path / "run.jsonl").stat().st_mode) == 0o600


def test_a_run_is_kept_in_fulmens_folder_by_default(endpoint, agent, tmp_path):
    endpoint.say("Hello.")
    agent("Hello!", "--system", "")
    [path] = (tmp_path / "home" / "agents").iterdir()
    assert str(path) in agent("--replay", path, endpoint_too=False).stderr or path.suffix == ".jsonl"
    assert [message["role"] for message in endpoint.requests[0]["messages"]] == ["user"]


def test_a_replay_shows_the_run_and_asks_nobody(endpoint, agent, tmp_path):
    path = tmp_path / "run.jsonl"
    endpoint.say(Say(thinking="A sum.", calls=(call("calculator", expression="2+3"),)), "It is 5.")
    live = agent("What is 2+3?", "--tools", "calculator", "--transcript", path)
    before = path.read_bytes()
    endpoint.say()
    replayed = agent("--replay", path, endpoint_too=False)
    assert replayed.exit_code == 0
    assert replayed.stdout == live.stdout
    assert replayed.stderr == live.stderr.replace(f"Transcript: {path}\n", "")
    assert not endpoint.requests
    assert path.read_bytes() == before


def test_a_run_without_an_answer_fails_and_says_why(endpoint, agent, tmp_path):
    endpoint.say(*[Say(calls=(call("calculator", expression="1"),))] * 9)
    result = agent("Loop.", "--tools", "calculator", "--transcript", tmp_path / "run.jsonl")
    assert isinstance(result.exception, RuntimeError)
    assert "without an answer (repeated_call): calculator was called again" in str(result.exception)
    assert result.stdout == ""
    replayed = agent("--replay", tmp_path / "run.jsonl", endpoint_too=False)
    assert str(replayed.exception) == str(result.exception)


def test_budgets_come_from_the_command_line(endpoint, agent):
    endpoint.say(*(Say(calls=(call("calculator", expression=str(i)),)) for i in range(9)))
    result = agent("Loop.", "--tools", "calculator", "--max-steps", 2, "--max-tokens", 900, "--reply-tokens", 70)
    assert "the budget of 2 steps is spent" in str(result.exception)
    assert [request["max_completion_tokens"] for request in endpoint.requests] == [70, 70]


def test_dangerous_tools_are_refused_without_a_terminal_unless_they_were_named(endpoint, agent, tmp_path):
    write = Say(calls=(call("write_file", path="a.txt", content="hello"),))
    (tmp_path / "work").mkdir()
    endpoint.say(write, "I may not.")
    agent("Write.", "--tools", f"edit:{tmp_path / 'work'}")
    assert "there is nobody to ask" in endpoint.results()[0]
    assert not (tmp_path / "work" / "a.txt").exists()
    endpoint.say(write, "Written.")
    result = agent("Write.", "--tools", f"edit:{tmp_path / 'work'}", "--yes", "write_file")
    assert result.stdout == "Written.\n"
    assert (tmp_path / "work" / "a.txt").read_text() == "hello"


def test_the_search_agent_cites_documents(endpoint, agent, tmp_path):
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "guide.md").write_text("The server listens on port 8000.\n")
    endpoint.say("Search.", Say(calls=(call("search_documents", query="port"),)), "It is 8000 [1].")
    options = ("--agent", "search", "--tools", f"documents:{tmp_path / 'documents'}")
    result = agent("Which port?", *options, "--transcript", tmp_path / "run.jsonl")
    assert result.stdout == "It is 8000 [1].\n\n[1] guide.md:1: The server listens on port 8000.\n"
    assert "[1] guide.md:1: The server listens" in result.stderr
    assert agent("--replay", tmp_path / "run.jsonl", endpoint_too=False).stdout == result.stdout
    endpoint.say(Say(calls=(call("search_documents", query="port"),)), *["It is 8000 [2]."] * 3)
    result = agent("Which?", "--agent", "search", "--no-plan", "--tools", f"documents:{tmp_path / 'documents'}")
    assert "answer_refused" in str(result.exception)


def test_an_api_becomes_tools(endpoint, agent, tmp_path, monkeypatch):
    path = {"get": {"operationId": "look", "responses": {}}, "put": {"operationId": "change", "responses": {}}}
    document = {"openapi": "3.1.0", "servers": [{"url": "http://127.0.0.1:9"}], "paths": {"/x": path}}
    (tmp_path / "api.json").write_text(json.dumps(document))
    monkeypatch.setenv("API_TOKEN", "Bearer s3cret")
    endpoint.say(Say(calls=(call("look"), call("change"))), "Neither works.")
    options = ("--openapi", tmp_path / "api.json", "--auth", "Authorization=API_TOKEN")
    result = agent("Look.", *options, "--transcript", tmp_path / "run.jsonl")
    assert result.stdout == "Neither works.\n"
    looked, changed = endpoint.results()
    assert "ConnectError" in looked
    assert "there is nobody to ask" in changed
    assert "operations of an API" in endpoint.requests[0]["messages"][0]["content"]
    assert "s3cret" not in (tmp_path / "run.jsonl").read_text()


def test_some_operations_of_an_api(endpoint, agent, tmp_path):
    path = {method: {"operationId": method + "It", "responses": {}} for method in ("get", "put", "delete")}
    document = {"openapi": "3.1.0", "servers": [{"url": "http://127.0.0.1:9"}], "paths": {"/x": path}}
    (tmp_path / "api.json").write_text(json.dumps(document))
    options = ("--openapi", tmp_path / "api.json", "--operation", "deleteIt", "--operation", "getIt")
    endpoint.say(Refuse(400), "Done.")
    agent("Look.", *options, "--transcript", tmp_path / "run.jsonl")
    assert agent("--resume", tmp_path / "run.jsonl", *options[:2]).stdout == "Done.\n"
    for request in endpoint.requests:
        assert [tool["function"]["name"] for tool in request["tools"]] == ["deleteIt", "getIt"]
    result = agent("Look.", *options[:2], "--operation", "flyIt")
    assert "the API has no operation 'flyIt'; it has: getIt, putIt, deleteIt" in str(result.exception)


def test_tools_of_an_mcp_server(endpoint, agent, marks):
    folder, option = marks
    endpoint.say(Say(calls=(call("count"), call("launch"))), "Counted.")
    result = agent("Count.", *option)
    assert result.stdout == "Counted.\n"
    assert endpoint.results()[0] == "counted"
    assert "there is nobody to ask" in endpoint.results()[1]
    assert (count(folder, "count"), count(folder, "launch")) == (1, 0)


def test_passages_of_several_folders_can_be_cited(endpoint, agent, tmp_path):
    words = []
    for name in ("letters", "notes", "rules"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "post.md").write_text(f"The post of {name} comes at nine.\n")
        words += ["--tools", f"documents:{tmp_path / name}"]
    names = ("search_documents", "notes_search_documents", "rules_search_documents")
    endpoint.say(Say(calls=tuple(call(name, query="post") for name in names)), "At nine [1] [2] [3].")
    result = agent("When?", "--agent", "search", "--no-plan", *words)
    assert result.exit_code == 0, result.stderr
    passages = [text.partition("] ") for text in endpoint.results()]
    assert {number for number, _, _ in passages} == {"[1", "[2", "[3"}  # in the order of their coming
    assert passages[2][2] == "(rules: post.md:1) The post of rules comes at nine."


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "give a task, --resume FILE or --replay FILE"),
        (("Go.", "--replay", "x"), "one of them only"),
        (("  ",), "the task is empty"),
        (("Go.", "--agent", "robot"), "no agent is called 'robot'; there are: assistant, search, api"),
        (("Go.", "--agent", "search"), "give --tools documents:FOLDER, or --mcp"),
        (("Go.", "--agent", "search", "--search-tool", "web"), "there is no search tool 'web'"),
        (("Go.", "--tools", "hammer"), "no built-in tools are called 'hammer'"),
        (("Go.", "--yes", "send"), "--yes send: there is no such tool"),
        (("Go.", "--model", "other"), "does not serve 'other'; it has: scripted"),
        (("Go.", "--openapi", "none.json"), "none.json: there is no such file"),
        (("Go.", "--transcript", __file__), "is there already"),
        (("--resume", "none.jsonl"), "there is no transcript none.jsonl"),
        (("--replay", __file__), "line 1: "),
    ],
)
def test_what_can_not_be_used_is_refused_with_the_reason(agent, arguments, reason):
    result = agent(*arguments)
    assert isinstance(result.exception, ValueError)
    assert reason in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "warnings"),
    [
        (("Hi.", "--threads", 1, "--think", 0), ["--think has no effect with --endpoint", "--threads has no effect"]),
        (("Hi.", "--auth", "A=B"), ["--auth has no effect without --openapi"]),
        (("Hi.", "--no-plan"), ["--plan has no effect without --agent search"]),
        (("Hi.", "--seed", 1), []),
        (("--resume", "none.jsonl", "--max-steps", 9), ["--max-steps has no effect with --resume"]),
        (("--replay", "none.jsonl", "--yes", "x"), ["--endpoint has no effect with --replay", "--yes has no effect"]),
    ],
)
def test_options_without_effect_are_named(endpoint, agent, arguments, warnings):
    endpoint.say("Hello.")
    said = agent(*arguments).stderr
    assert said.count("has no effect") == len(warnings)
    for warning in warnings:
        assert warning in said


def test_a_server_without_tools_is_refused_with_the_reason(agent, tmp_path):
    server = "import asyncio; from mcp.server.lowlevel import Server; from fulmen.tools.mcp_server import serve_stdio"
    (tmp_path / "empty.py").write_text(f"{server}\nasyncio.run(serve_stdio(Server('empty')))\n")
    result = agent("Go.", "--mcp", f"empty={sys.executable} {tmp_path / 'empty.py'}")
    assert isinstance(result.exception, ConnectionError)
    assert "the MCP server 'empty' does not list its tools" in str(result.exception)


def test_an_operation_whose_schema_is_wrong_is_left_out(endpoint, agent, tmp_path):
    wrong = {"name": "x", "in": "query", "schema": {"type": "file"}}
    path = {"get": {"operationId": "look"}, "put": {"operationId": "change", "parameters": [wrong]}}
    document = {"openapi": "3.1.0", "servers": [{"url": "http://127.0.0.1:9"}], "paths": {"/x": path}}
    (tmp_path / "api.json").write_text(json.dumps(document))
    endpoint.say("Hello.")
    result = agent("Look.", "--openapi", tmp_path / "api.json")
    assert result.stdout == "Hello.\n"
    assert "no tool is made of change: change.parameters.properties.x.type is 'file'" in result.stderr
    assert [tool["function"]["name"] for tool in endpoint.requests[0]["tools"]] == ["look"]


def test_an_endpoint_that_fails_leaves_a_run_that_goes_on(endpoint, agent, tmp_path):
    path = tmp_path / "run.jsonl"
    endpoint.say(Say(calls=(call("calculator", expression="2+3"),)), Refuse(400, "out of order"))
    result = agent("Add.", "--tools", "calculator", "--transcript", path)
    assert isinstance(result.exception, RuntimeError)
    assert "out of order" in str(result.exception)
    assert f"fulmen agent --resume {path}" in str(result.exception)
    endpoint.say("It is 5.")
    assert agent("--resume", path).stdout == "It is 5.\n"
    assert endpoint.results() == ['{"result": 5}']


def test_a_transcript_does_not_reach_out_unless_the_user_agrees(endpoint, agent, tmp_path, marks):
    _, option = marks
    path = tmp_path / "run.jsonl"
    endpoint.say(Refuse(400))
    agent("Count.", *option, "--transcript", path)
    endpoint.say("Hello.")
    result = agent("--resume", path)
    assert "starts or asks the MCP server " in str(result.exception)
    assert "give the same options again" in str(result.exception)
    result = agent("--resume", path, *option, endpoint_too=False)
    assert "asks the model at" in str(result.exception)
    assert not endpoint.requests
    assert agent("--resume", path, *option).stdout == "Hello.\n"


def test_a_transcript_does_not_work_with_folders_unless_the_user_agrees(endpoint, agent, tmp_path):
    path, option = tmp_path / "run.jsonl", ("--tools", f"edit:{tmp_path}")
    endpoint.say(Refuse(400))
    agent("Look.", *option, "--transcript", path)
    assert f"works with edit:{tmp_path}" in str(agent("--resume", path).exception)
    endpoint.say("Nothing.")
    assert agent("--resume", path, *option).stdout == "Nothing.\n"


def test_a_run_goes_on_from_another_folder(endpoint, agent, marks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    endpoint.say(Refuse(400))
    agent("Count.", "--mcp", "servers.json", "--transcript", "run.jsonl")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    endpoint.say("Hello.")
    assert agent("--resume", "../run.jsonl", "--mcp", "../servers.json").stdout == "Hello.\n"


def killed(endpoint, folder, mark, *arguments):
    """Start the command, and kill -9 it as soon as a tool has left a mark."""
    command = [*COMMAND, *map(str, arguments), "--endpoint", endpoint.address]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 200
        while not count(folder, mark):
            assert process.poll() is None, process.stdout.read().decode()
            assert time.monotonic() < end, "the tool was not called"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_a_run_that_was_killed_in_a_step_goes_on_without_repeating_what_had_returned(endpoint, agent, marks, tmp_path):
    folder, option = marks
    path = tmp_path / "run.jsonl"
    endpoint.say(Say(calls=(call("count"),)), Say(calls=(call("count"), call("wait"))))
    killed(endpoint, folder, "wait", "Count and wait.", *option, "--transcript", path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    returned = sum(line["kind"] == "returned" for line in lines)
    assert returned in (1, 2), "the second count and the kill are not ordered"
    (folder / "go").touch()
    endpoint.say("All done.")
    result = agent("--resume", path, *option)
    assert result.stdout == "All done.\n"
    assert endpoint.results() == ["counted", "counted", "waited"]
    assert count(folder, "wait") == 2, "a safe call of unknown outcome is made again"
    assert count(folder, "count") <= 2 + (returned == 1)
    assert len(endpoint.requests) == 1


def test_a_dangerous_call_that_was_killed_on_its_way_is_asked_about_again(endpoint, agent, marks, tmp_path):
    folder, option = marks
    path = tmp_path / "run.jsonl"
    endpoint.say(Say(calls=(call("launch"),)))
    killed(endpoint, folder, "launch", "Launch.", *option, "--yes", "launch", "--transcript", path)
    (folder / "go").touch()
    endpoint.say("I don't know.")
    result = agent("--resume", path, *option, "--yes", "launch")
    assert result.stdout == "I don't know.\n"
    assert count(folder, "launch") == 1
    assert "was interrupted, and whether it took effect is unknown" in endpoint.results()[0]


@pytest.fixture
def at_terminal(endpoint):
    programs = []

    def at_terminal(*arguments):
        program = Terminal(*COMMAND, *map(str, arguments), FULMEN_HOME=os.environ["FULMEN_HOME"])
        programs.append(program)
        return program

    yield at_terminal
    for program in programs:
        program.close()


@pytest.mark.parametrize(("typed", "written"), [("y\r", True), ("\r", False), ("no\r", False), ("\x04", False)])
def test_the_user_is_asked_at_the_terminal(endpoint, at_terminal, tmp_path, typed, written):
    (tmp_path / "work").mkdir()
    text = "one\x1b[2Jtwo\u202ethree"
    endpoint.say(Say("Writing.", calls=(call("write_file", path="a.txt", content=text),)), "Finished.")
    program = at_terminal("Write.", "--tools", f"edit:{tmp_path / 'work'}", "--endpoint", endpoint.address)
    card = program.wait_for("Allow this call? [y/N]", 120)
    assert "write_file needs your consent" in card
    assert '"path": "a.txt"' in card
    program.type(typed)
    program.wait_for("Finished.")
    assert program.end() == 0
    assert (tmp_path / "work" / "a.txt").exists() == written
    assert endpoint.results()[0].startswith("Not called") != written


def test_the_question_is_not_written_into_the_file_that_gets_the_answer(endpoint, tmp_path):
    (tmp_path / "work").mkdir()
    endpoint.say(Say(calls=(call("write_file", path="a.txt", content="x"),)), "Finished.")
    options = ("Write.", "--tools", f"edit:{tmp_path / 'work'}", "--endpoint", endpoint.address)
    home = os.environ["FULMEN_HOME"]
    program = Terminal("sh", "-c", f'exec "$@" > {tmp_path}/answer', "sh", *COMMAND, *options, FULMEN_HOME=home)
    try:
        program.wait_for("Allow this call? [y/N]", 120)
        program.type("y\r")
        program.wait_for("Finished.")
        assert program.end() == 0
    finally:
        program.close()
    assert (tmp_path / "answer").read_text() == "Finished.\n"
    assert (tmp_path / "work" / "a.txt").exists()


def test_ctrl_c_stops_a_run_that_can_go_on(endpoint, agent, at_terminal, tmp_path):
    path = tmp_path / "run.jsonl"
    endpoint.say(Say("Thinking it over ", hang=True))
    program = at_terminal("Think.", "--transcript", path, "--endpoint", endpoint.address)
    program.wait_for("Thinking it", 120)
    program.interrupt()
    program.wait_for("Stopped.")
    assert program.end() == 130
    endpoint.say("Thought.")
    assert agent("--resume", path).stdout == "Thought.\n"


def test_a_model_of_this_machine_works_without_an_endpoint(checkpoint, endpoint, agent, tmp_path):
    path = tmp_path / "run.jsonl"
    options = ("--model", checkpoint, "--max-tokens", 30, "--temperature", 0, "--transcript", path)
    result = agent("Talk.", "--system", "", "--tools", "calculator", *options, endpoint_too=False)
    assert "without an answer (tokens_spent)" in str(result.exception)
    [reply] = [line for line in map(json.loads, path.read_text().splitlines()) if line["kind"] == "replied"]
    assert reply["completion_tokens"] == 30
    assert reply["message"]["content"] in result.stderr.replace("\n", "")
    assert not endpoint.requests
