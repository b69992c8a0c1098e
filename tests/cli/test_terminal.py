"""The chat at a terminal: a real `fulmen chat` behind a pseudo-terminal, and what it draws."""

import io
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pseudo_terminal import ESCAPES, Terminal
from rich.console import Console

from fulmen.chat.parser import TextDelta, ThinkingDelta, ToolCallArguments, ToolCallStart, Warning
from fulmen.cli.reply_view import ReplyView
from fulmen.cli.sections import split_blocks


@pytest.fixture
def terminal(checkpoint, tmp_path):
    program = Terminal(
        sys.executable, "-c", "from fulmen.cli import main; main()", "chat", str(checkpoint), "--temperature", "0",
        FULMEN_HOME=os.environ.get("FULMEN_HOME", os.path.expanduser("~/.cache/fulmen")), HOME=str(tmp_path),
    )  # fmt: skip
    yield program
    program.close()


def test_ctrl_c_stops_the_reply_and_not_the_program(terminal):
    terminal.wait_for("/help")
    terminal.wait_for(">")
    terminal.type("Talk on and on\r")
    terminal.wait_for("X")  # a letter of the reply, which would go on for 1,900 tokens; nothing else here writes one
    terminal.type("\x03")
    terminal.wait_for("Stopped.")
    terminal.type("/stats\r")
    terminal.wait_for("stopped by you")
    terminal.wait_for("> ")  # typed before the prompt reads keys, Ctrl-C would be a signal
    terminal.type("\x03")
    terminal.wait_for("Ctrl-D leaves.")
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.end() == 0


def test_commands_and_their_errors(terminal, tmp_path):
    terminal.wait_for("/help")
    terminal.type("/think 5\r")
    terminal.wait_for("at most 5 tokens")
    terminal.type("/think much\r")
    terminal.wait_for("not 'much'")
    terminal.type("/nothing\r")
    terminal.wait_for("/nothing is no command")
    terminal.type(f"/tools {tmp_path}/none.json\r")
    terminal.wait_for("No such file")
    terminal.type("/system Be brief.\r")
    terminal.wait_for("Be brief.")
    terminal.type(f"/save {tmp_path}/talk.json\r")
    terminal.wait_for("1 messages written")
    assert "Be brief." in (tmp_path / "talk.json").read_text()
    terminal.type("/exit\r")
    assert terminal.end() == 0


@given(st.text(st.sampled_from("ab \n\r#*`->|1.\t")))
def test_blocks_joined_are_the_text(text):
    blocks, last = split_blocks(text)
    assert "".join([*blocks, last]) == text


def drawn(*deltas, folded):
    """What stays on the screen after a reply."""
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    with ReplyView(console, folded=folded) as view:
        for delta in deltas:
            view.show(delta)
            view.refresh()
    return ESCAPES.sub("", console.file.getvalue())


@pytest.mark.parametrize(("thinking", "length"), [("one two\nthree", "3 words"), ("1+2=3", "1 word")])
def test_folded_thinking_is_one_line(thinking, length):
    output = drawn(ThinkingDelta(thinking), TextDelta("Answer."), folded=True)
    assert f"Thought in {length} (" in output
    assert "Answer." in output


def test_unfolded_thinking_is_printed_once():
    pieces = [ThinkingDelta(piece) for piece in ("one two\nth", "ree\nfour", " five")]
    output = drawn(*pieces, TextDelta("Answer."), folded=False)
    assert "one two\n" in output.replace("\r", "")
    assert "Thought in" not in output


def test_tool_calls_and_warnings_are_shown():
    call = (ToolCallStart(index=0, id="1", name="get_weather"), ToolCallArguments(index=0, text='{"city": "Rome"}'))
    output = drawn(*call, Warning("the call is no JSON"), folded=True)
    assert 'get_weather {"city": "Rome"}' in output
    assert "Warning: the call is no JSON" in output


def test_a_reply_can_not_steer_the_terminal():
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    with ReplyView(console, folded=True) as view:
        view.show(TextDelta("safe\x1b]0;title\x07 and \x1b[2Jsound"))
    assert "\x1b]0" not in console.file.getvalue()
    assert "\x1b[2J" not in console.file.getvalue()
