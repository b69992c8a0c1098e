"""The chat through a pipe, with replies that a test wrote down."""

import io
from types import SimpleNamespace

import pytest

from fulmen.chat.parser import ReplyParser, collect
from fulmen.cli.piped import answer_lines


class ScriptedSession:
    """Stands for `cli.session.ChatSession`."""

    def __init__(self, *replies):
        self._replies = iter(replies)
        self.messages, self.stats = [], []

    async def ask(self, text):
        parser = ReplyParser(constrained_calls=True)
        deltas = [*parser.feed(next(self._replies)), *parser.finish()]
        for delta in deltas:
            yield delta
        self.messages.append(collect(deltas).message())
        self.stats.append(SimpleNamespace(cut_short=None))


@pytest.mark.parametrize("before", ["", "Yes.\n"])
def test_a_tool_call_that_is_cut_off_is_printed_as_text_and_the_next_line_answered(before):
    call = '{"name": "get_weather", "arguments": {"city": "Par'
    session = ScriptedSession(f"{before}<tool_calls>\n{call}", "Hello.")
    out, err = io.StringIO(), io.StringIO()
    answer_lines(session, [b"Weather?\n", b"\n", b"Hi\n"], out=out, err=err)
    assert out.getvalue() == f"{before}{call}\nHello.\n"
    assert "cut off" in err.getvalue()


def test_tool_calls_are_printed_as_lines_of_json():
    session, out = ScriptedSession('<tool_calls>\n{"name": "f", "arguments": {"a":1}}\n</tool_calls>'), io.StringIO()
    answer_lines(session, [b"Call"], out=out, err=io.StringIO())
    assert out.getvalue() == '{"name": "f", "arguments": {"a": 1}}\n'


def test_a_line_that_is_no_utf8_is_named():
    session, out = ScriptedSession("Good day."), io.StringIO()
    with pytest.raises(ValueError, match="line 2 of the input is no UTF-8: invalid .* at byte 1"):
        answer_lines(session, [b"Gr\xc3\xbc\xc3\x9fe\n", b"G\xfc\n"], out=out, err=io.StringIO())
    assert out.getvalue() == "Good day.\n"
