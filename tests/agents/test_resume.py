"""A run replays from its transcript alone, and goes on from wherever it was cut."""

import json

import pytest
from scripted_endpoint import Say, call

from fulmen.agents.agent import Agent
from fulmen.agents.confirm import Answer, allow_named
from fulmen.agents.records import Budget, Called
from fulmen.agents.replay import replayed
from fulmen.agents.state import RunState
from fulmen.agents.transcript import Transcript, read_transcript
from fulmen.tools.function import tool_from_function
from fulmen.tools.registry import ToolRegistry

SCRIPT = (
    Say("Adding.", thinking="Sums.", calls=(call("add", a=1, b=2), call("add", a=3, b=4))),
    Say(thinking="Nothing."),
    Say(calls=(call("send", to="Ada"), call("add", a=5, b=6), call("launch"), call("send", to="Bob"))),
    Say("All done."),
)


async def confirm(question):
    return Answer(allowed="Ada" in question.call.arguments, why="the user decided")


@pytest.fixture
def whole(endpoint, tools, carry_out, tmp_path):
    """The transcript of a whole run."""
    endpoint.say(*SCRIPT)
    with Transcript.create(tmp_path / "whole.jsonl") as transcript:
        _, ended = carry_out("Add and send.", confirm=confirm, transcript=transcript)
    assert ended.outcome == "answered"
    assert (sorted(tools.added), tools.sent) == ([(1, 2), (3, 4), (5, 6)], ["Ada"])
    tools.added.clear()
    tools.sent.clear()
    return tmp_path / "whole.jsonl"


def replay(path):
    started, records = read_transcript(path)
    state = RunState(started)
    return state, list(replayed(Agent(), state, records))


def test_a_replay_needs_neither_model_nor_tools_and_ends_where_the_run_did(endpoint, tools, whole):
    endpoint.say()
    state, records = replay(whole)
    assert records == read_transcript(whole)[1]
    assert (state.ended.outcome, state.ended.answer) == ("answered", "All done.")
    assert state.steps == 4
    assert state.messages == replay(whole)[0].messages
    assert not endpoint.requests
    assert not tools.added


def number_of(lines, kind, *, last=False):
    found = [number for number, line in enumerate(lines) if json.loads(line)["kind"] == kind]
    return found[-1 if last else 0]


def without(kind):
    return lambda lines: [line for number, line in enumerate(lines) if number != number_of(lines, kind)]


def twice(kind):
    return lambda lines: [*lines[: number_of(lines, kind) + 1], *lines[number_of(lines, kind) :]]


def changed(kind, **values):
    """The last line of a kind with other values in it."""

    def change(lines):
        number = number_of(lines, kind, last=True)
        return [*lines[:number], json.dumps(json.loads(lines[number]) | values), *lines[number + 1 :]]

    return change


TAMPERINGS = {
    "a reply is missing": without("replied"),
    "a result comes twice": twice("returned"),
    "a call was not begun": without("called"),
    "nobody was asked": without("decided"),
    "a refusal became a consent": changed("decided", allowed=True),
    "the end has another outcome": changed("ended", outcome="steps_spent"),
    "the end has another answer": changed("ended", answer="Nothing was done."),
    "the model was told something else": changed("told", content="Send it."),
    "something follows the end": twice("ended"),
    "it starts twice": twice("started"),
    "the budget was smaller": changed("started", budget={"steps": 2}),
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_a_transcript_that_the_loop_could_not_have_written_is_refused(whole, tmp_path, tampering):
    lines = tampering(whole.read_text().splitlines())
    path = tmp_path / "tampered.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"line \d+ of the transcript: "):
        replay(path)


def test_wherever_a_run_was_killed_it_ends_the_same_and_repeats_no_finished_call(
    endpoint, tools, whole, go_on, tmp_path
):
    lines = whole.read_text().splitlines(keepends=True)
    full_state, _ = replay(whole)
    for count in range(1, len(lines)):
        path = tmp_path / f"{count}.jsonl"
        path.write_text("".join(lines[:count]) + lines[count][: len(lines[count]) // 2])
        _, records = read_transcript(path)
        known = [json.loads(line) for line in lines[:count]]
        replies = sum(line["kind"] == "replied" for line in known)
        returned = {line["call_id"] for line in known if line["kind"] == "returned" and line["by"] == "tool"}
        endpoint.say(*SCRIPT[replies:])
        tools.added.clear()
        tools.sent.clear()
        run, ended = go_on(path, confirm=confirm)
        assert (ended.outcome, ended.answer) == ("answered", "All done.")
        assert len(endpoint.requests) == len(SCRIPT) - replies
        made = {record.call_id for record in read_transcript(path)[1][len(records) :] if isinstance(record, Called)}
        assert not made & returned
        assert len(tools.added) + len(tools.sent) == len(made) - sum(call_id.endswith("_2") for call_id in made)
        assert [message.content for message in run.state.messages] == [m.content for m in full_state.messages]
        replay(path)  # what was written by two processes is one run


@pytest.fixture
def killed_while_sending(endpoint, tools, carry_out, tmp_path):
    """The transcript of a run that was killed while a dangerous call was being made."""
    endpoint.say(Say(calls=(call("send", to="Ada"),)), "Sent.")
    with Transcript.create(tmp_path / "whole.jsonl") as transcript:
        carry_out(confirm=allow_named({"send"}), transcript=transcript)
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path / "killed.jsonl"
    path.write_text("".join(lines[: number_of(lines, "called") + 1]))
    tools.sent.clear()
    return path


def test_a_dangerous_call_of_unknown_outcome_asks_again_though_it_was_allowed(
    endpoint, tools, killed_while_sending, go_on
):
    asked = []

    async def ask(question):
        asked.append(question)
        return Answer(allowed=True, why="the user said yes")

    endpoint.say("Sent.")
    _, ended = go_on(killed_while_sending, confirm=allow_named({"send"}, ask))
    [question] = asked
    assert question.interrupted
    assert tools.sent == ["Ada"]
    assert ended.outcome == "answered"


def test_a_dangerous_call_of_unknown_outcome_is_not_made_again_without_consent(
    endpoint, tools, killed_while_sending, go_on
):
    endpoint.say("I don't know whether it was sent.")
    _, ended = go_on(killed_while_sending)
    assert not tools.sent
    [result] = endpoint.results()
    assert "was interrupted, and whether it took effect is unknown" in result
    assert ended.outcome == "answered"


def test_a_consent_in_the_file_is_asked_for_again(endpoint, tools, whole, go_on, tmp_path):
    lines = whole.read_text().splitlines(keepends=True)
    path = tmp_path / "killed.jsonl"
    path.write_text("".join(lines[: number_of(lines, "decided") + 1]))
    asked = []

    async def ask(question):
        asked.append(question.call.arguments)
        return Answer(allowed=False, why="the user said no")

    endpoint.say("All done.")
    go_on(path, confirm=ask)
    assert not tools.sent
    assert asked == ['{"to": "Ada"}', '{"to": "Bob"}']


def test_a_tool_that_the_run_began_without_is_not_called(endpoint, tools, whole, go_on, tmp_path):
    """A forged transcript leaves a dangerous tool out, so that its call counts as safe."""
    lines = whole.read_text().splitlines()
    started = json.loads(lines[0])
    started |= {"tools": [tool for tool in started["tools"] if tool["name"] != "send"], "dangerous": []}
    path = tmp_path / "forged.jsonl"
    [reply] = [line for line in lines if '"send"' in line and json.loads(line)["kind"] == "replied"]
    path.write_text(f"{json.dumps(started)}\n{reply}\n")
    endpoint.say("All done.")
    go_on(path)
    assert not tools.sent
    assert "send is no tool of this run" in endpoint.results()[0]
    replay(path)


def test_a_run_that_has_ended_is_not_resumed(whole, go_on):
    before = whole.read_bytes()
    with pytest.raises(ValueError, match=r"the run has ended \(answered\)"):
        go_on(whole)
    assert whole.read_bytes() == before


def test_a_run_goes_on_with_the_tools_it_had(endpoint, killed_while_sending, go_on):
    def send(to: str, subject: str) -> str:
        """Send a letter."""
        return to

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    def now() -> str:
        """Tell the time."""
        return "1"

    others = [tool_from_function(add), tool_from_function(now)]
    with pytest.raises(ValueError, match="had a tool send that is not there now"):
        go_on(killed_while_sending, registry=ToolRegistry(others))
    with pytest.raises(ValueError, match="send takes other arguments"):
        go_on(killed_while_sending, registry=ToolRegistry([*others, tool_from_function(send, dangerous=True)]))


def test_budgets_hold_across_processes(endpoint, tools, carry_out, go_on, tmp_path):
    endpoint.say(*(Say(calls=(call("add", a=i, b=i),)) for i in range(4)))
    with Transcript.create(tmp_path / "whole.jsonl") as transcript:
        carry_out(budget=Budget(steps=4), transcript=transcript)
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path / "killed.jsonl"
    path.write_text("".join(lines[:7]))
    assert sum(json.loads(line)["kind"] == "replied" for line in lines[:7]) == 2
    endpoint.say(*(Say(calls=(call("add", a=i, b=i),)) for i in range(2, 9)))
    _, ended = go_on(path)
    assert ended.outcome == "steps_spent"
    assert len(endpoint.requests) == 2
