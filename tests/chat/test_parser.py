import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.chat.message import Message, ToolCall
from fulmen.chat.parser import (
    Delta,
    ParsedReply,
    ReplyParser,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallStart,
    Warning,
    collect,
    parse,
)
from fulmen.chat.reply_format import reply_text

CALL = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
REPLIES = (
    f"<think>\nLet me look.\n</think>\n\nLooking.\n<tool_calls>\n{CALL}\n{CALL}\n</tool_calls>",
    f"<think>a<b</thin></think><tool_calls>{CALL}</tool_calls>\nDone.",
    f'Broken:\n<tool_calls>\n{{"name": "a", "arguments": {{"x": 1}}\n{CALL}\nnonsense\n</tool_calls>',
    '<tool_calls>\n{"name": "a", "arguments": {"s": "</tool_calls> \\" }"}}\n{"name": "a}</tool_calls> and on',
    '<tool_calls>{"arguments": {"a": [1, 2]}, "name": "x"} {"name": "y", "parameters": {}}</tool_calls><tool_calls>',
)


def numbered(**options):
    counter = itertools.count()
    return ReplyParser(new_id=lambda: f"call_{next(counter)}", **options)


def run(pieces, **options) -> tuple[ParsedReply, list[Delta]]:
    parser = numbered(**options)
    deltas = [delta for piece in pieces for delta in parser.feed(piece)] + parser.finish()
    return collect(deltas, thought=parser.thought), deltas


def test_reads_the_published_form():
    reply = parse(
        "<think>\nOkay, I will search.\n</think>\n<tool_calls>\n"
        '{"name": "search_web", "arguments": {"query_list": ["\\"OpenAI\\" \\"latest\\""]}}\n'
        '{"name": "search_web", "arguments": {"query_list": []}}\n</tool_calls>\n'
    )
    assert (reply.thinking, reply.text, reply.warnings) == ("Okay, I will search.", "", ())
    assert [call.name for call in reply.tool_calls] == ["search_web", "search_web"]
    assert json.loads(reply.tool_calls[0].arguments) == {"query_list": ['"OpenAI" "latest"']}
    assert len({call.id for call in reply.tool_calls}) == 2


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("Hello <b>you</b>\n", None, "Hello <b>you</b>\n"),
        ("  two spaces", None, "  two spaces"),
        ("\n <think>\nHm.\n</think>\n\nYes", "Hm.", "Yes"),
        ("<think>\n\n</think>\n\nYes", "", "Yes"),
        ("<think></think>Yes", "", "Yes"),
        ("<think>\n\nA\n\n</think>\n\n\nB", "\nA\n", "\nB"),
        ("<think>\nnever closed", "never closed", ""),
        ("<think>x</think", "x</think", ""),
        ("Use <think> to think</think>", None, "Use <think> to think</think>"),
        ("<think>a <tool_calls> b</think>c", "a <tool_calls> b", "c"),
        ("<thin", None, "<thin"),
        ("a\n<tool_cal", None, "a\n<tool_cal"),
        ("", None, ""),
    ],
)
def test_thinking_and_text(text, thinking, answer):
    reply = parse(text)
    assert (reply.thinking, reply.text, reply.tool_calls, reply.warnings) == (thinking, answer, (), ())


def test_a_reply_that_starts_inside_the_thinking():
    assert parse("Hm.\n</think>\n\nYes", starts_in_thinking=True).message() == Message(
        role="assistant", content="Yes", thinking="Hm."
    )
    assert parse("", starts_in_thinking=True).thinking == ""


def test_tool_calls_stay_text_when_there_are_no_tools():
    text = f"So:\n<tool_calls>\n{CALL}\n</tool_calls>"
    assert parse(text, read_tool_calls=False).text == text


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ('{"name": "f", "arguments": {"a":1,  "b": "\\u00e9"}}', "f", '{"a":1,  "b": "\\u00e9"}'),
        ('{"name": "f", "arguments": "{\\"a\\": 1}"}', "f", '{"a": 1}'),
        ('{"name": "f", "parameters": {"a": 1}}', "f", '{"a": 1}'),
        ('{"arguments": {"a": 1}, "name": "f"}', "f", '{"a": 1}'),
        ('{"name": "f"}', "f", "{}"),
        ('{"name": "f", "arguments": null}', "f", "{}"),
    ],
)
def test_tolerated_spellings_of_a_call(line, name, arguments):
    reply = parse(f"<tool_calls>\n{line}\n</tool_calls>")
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [(name, arguments)]
    assert (reply.text, reply.warnings) == ("", ())


@pytest.mark.parametrize(
    "line",
    [
        "get_weather(city='Paris')",
        '{"name": "f", "arguments": {"a": 1}',
        '{"name": "f", "arguments": {"a": NaN}}',
        '{"name": "f", "arguments": [1]}',
        '{"name": "f", "arguments": "not json"}',
        '{"name": 3, "arguments": {}}',
        '{"name": "", "arguments": {}}',
        '{"name": "\\ud800", "arguments": {}}',
        '{"arguments": {}}',
        "[1, 2]",
        '{"name": "f", "arguments": ' + '{"a": ' * 5000 + "1" + "}" * 5001,
        '{"name": "f", "arguments": {"a": ' + "9" * 5000 + "}}",
    ],
)
def test_a_malformed_call_reaches_the_user_as_text_and_spares_the_next(line):
    reply = parse(f"Look:\n<tool_calls>\n{line}\n{CALL}\n</tool_calls>\nDone.")
    assert reply.text == f"Look:\n{line}\nDone."
    assert [call.name for call in reply.tool_calls] == ["get_weather"]
    assert len(reply.warnings) == 1


def test_a_closing_tag_in_a_string_closes_nothing_unless_the_call_is_broken():
    good = parse('<tool_calls>{"name": "f", "arguments": {"a": "</tool_calls>"}}</tool_calls>Bye')
    assert (good.text, [call.arguments for call in good.tool_calls]) == ("Bye", ['{"a": "</tool_calls>"}'])
    broken = parse('<tool_calls>{"name": "f}</tool_calls> Bye')
    assert (broken.text, broken.tool_calls, len(broken.warnings)) == ('{"name": "f}\nBye', (), 1)


def test_the_end_inside_a_block():
    whole = parse(f"<tool_calls>\n{CALL}")
    assert [call.name for call in whole.tool_calls] == ["get_weather"]
    assert whole.warnings == ("the reply ended before </tool_calls>",)
    cut = parse('<tool_calls>\n{"name": "get_wea')
    assert (cut.text, cut.tool_calls, len(cut.warnings)) == ('{"name": "get_wea', (), 2)


@pytest.mark.parametrize("options", [{}, {"constrained_calls": True}, {"starts_in_thinking": True}])
@pytest.mark.parametrize("text", REPLIES)
def test_every_split_in_two_and_every_single_character_gives_the_same_reply(text, options):
    whole, _ = run([text], **options)
    assert run(list(text), **options)[0] == whole
    for place in range(len(text) + 1):
        assert run([text[:place], text[place:]], **options)[0] == whole


FRAGMENTS = st.one_of(
    st.sampled_from(["<think>", "</think>", "<tool_calls>", "</tool_calls>", "<", "</", "tool", "a", "\n", " "]),
    st.sampled_from(['"', "\\", "{", "}", "[", "]", ",", ":", "}}", '"x": "']),
    st.sampled_from([CALL, '{"name": "f", "arguments": {', '{"name": "f", "arguments": "']),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.data(), st.lists(FRAGMENTS, max_size=14).map("".join), st.booleans(), st.booleans())
def test_boundaries_never_matter(data, text, constrained, starts_in_thinking):
    options = {"constrained_calls": constrained, "starts_in_thinking": starts_in_thinking}
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole, _ = run([text], **options)
    parts, deltas = run(pieces, **options)
    assert parts == whole == run(list(text), **options)[0]
    for delta in deltas:
        assert isinstance(delta, ToolCallStart) or delta.text
    # Nothing is lost: outside of calls every visible character comes out again.
    if not whole.tool_calls:
        stripped = text
        for tag in ("<think>", "</think>", "<tool_calls>", "</tool_calls>"):
            stripped = stripped.replace(tag, "")
        shown = (whole.thinking or "") + whole.text
        for tag in ("<think>", "</think>", "<tool_calls>", "</tool_calls>"):
            shown = shown.replace(tag, "")
        assert sorted("".join(shown.split())) == sorted("".join(stripped.split()))


def test_text_is_streamed_and_tags_are_never_leaked():
    parser = numbered()
    assert parser.feed("<thi") == []
    assert parser.feed("nk>\nHm") == [ThinkingDelta("Hm")]
    assert parser.in_thinking
    assert parser.feed(".\n</") == [ThinkingDelta(".")]
    assert parser.feed("think>\n") == []
    assert not parser.in_thinking
    assert parser.feed("\nYes <tool") == [TextDelta("Yes ")]
    assert parser.feed("box>") == [TextDelta("<toolbox>")]
    assert parser.feed("\n<tool_calls>\n" + CALL[:-1]) == []
    assert parser.feed("}") == [
        ToolCallStart(0, "call_0", "get_weather"),
        ToolCallArguments(0, '{"city": "Paris"}'),
    ]
    assert parser.feed("\n</tool_calls>") == []
    assert parser.finish() == []


def test_constrained_arguments_are_streamed_while_they_grow():
    parser = numbered(constrained_calls=True)
    assert parser.feed('<tool_calls>\n{"name": "f", "arguments": ') == []
    assert parser.feed('{"a') == [ToolCallStart(0, "call_0", "f"), ToolCallArguments(0, '{"a')]
    assert parser.feed('": "}"') == [ToolCallArguments(0, '": "}"')]
    assert parser.feed("}") == [ToolCallArguments(0, "}")]
    assert parser.feed("}\n</tool_calls>") == []
    assert parser.finish() == []


@pytest.mark.parametrize("before", ["", "I look.\n"])
def test_constrained_arguments_that_are_cut_off_are_text_in_the_end(before):
    call = '{"name": "f", "arguments": {"a": "b'
    reply, deltas = run([f"{before}<tool_calls>\n{CALL}\n{call}"], constrained_calls=True)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("get_weather", '{"city": "Paris"}')]
    assert reply.text == before + call
    assert isinstance(deltas[-1], Warning)
    assert reply.warnings


@pytest.mark.parametrize("constrained", [False, True])
def test_a_closing_tag_that_is_cut_off_is_not_shown(constrained):
    for length in range(len("</tool_calls>")):
        reply, _ = run([f"<tool_calls>\n{CALL}\n" + "</tool_calls>"[:length]], constrained_calls=constrained)
        assert (reply.text, len(reply.tool_calls)) == ("", 1)
        assert reply.warnings == ("the reply ended before </tool_calls>",)


NO_TAG = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(lambda s: "<" not in s)
JSON_OBJECTS = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=9), max_size=3
)
CALLS = st.builds(
    ToolCall,
    id=st.just(""),
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    arguments=JSON_OBJECTS.map(json.dumps),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(NO_TAG, st.none() | NO_TAG, st.lists(CALLS, max_size=3))
def test_reading_is_the_inverse_of_writing(text, thinking, calls):
    message = Message(role="assistant", content=text, thinking=thinking, tool_calls=tuple(calls))
    parser = ReplyParser(new_id=str)
    deltas = parser.feed("".join(reply_text(message))) + parser.finish()
    assert collect(deltas, thought=parser.thought).message() == message
    if thinking is not None:
        prompt, rest = reply_text(message, "open")
        parser = ReplyParser(new_id=str, starts_in_thinking=True)
        deltas = parser.feed(rest) + parser.finish()
        assert prompt == "<think>\n"
        assert collect(deltas, thought=parser.thought).message() == message
