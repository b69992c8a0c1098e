import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.chat.parser import TextDelta, ThinkingDelta, ToolCallStart, parse
from fulmen.chat.reply import ReplyAssembler, Usage
from fulmen.trace import TokenEvent

REPLY = "<think>\nHm.\n</think>\n\nGrüße 🌍 aus Paris."


def events(tokenizer, text, *, finish_reason="stop", stop_string=None, end=True, cached_tokens=0):
    ids = tokenizer.encode(text) + ([tokenizer.eos_token_ids[0]] if end else [])
    return [
        TokenEvent(
            choice=0,
            index=index,
            token_id=token_id,
            finish_reason=finish_reason if index == len(ids) - 1 else None,
            stop_string=stop_string if index == len(ids) - 1 else None,
            cached_tokens=cached_tokens,
        )
        for index, token_id in enumerate(ids)
    ]


def test_a_reply_is_put_together(tokenizer):
    assembler = ReplyAssembler(tokenizer)
    stream = events(tokenizer, REPLY, cached_tokens=5)
    deltas = [delta for event in stream for delta in assembler.feed(event)]
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == "Hm."
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == "Grüße 🌍 aus Paris."
    assert not any("\ufffd" in d.text for d in deltas)
    assert assembler.reply == parse(REPLY)
    assert assembler.finish_reason == "stop"
    thinking = len(tokenizer.encode("<think>\nHm.\n</think>"))
    assert assembler.usage.completion_tokens == len(stream)
    assert thinking <= assembler.usage.reasoning_tokens <= thinking + 1
    assert assembler.usage.cached_tokens == 5


def test_without_thinking_no_token_counts_as_reasoning(tokenizer):
    assembler = ReplyAssembler(tokenizer)
    stream = events(tokenizer, "Yes.")
    for event in stream:
        assembler.feed(event)
    assert assembler.usage == Usage(completion_tokens=len(stream), reasoning_tokens=0, cached_tokens=0)
    assert assembler.reply.thinking is None


def test_a_reply_cut_off_in_its_thinking(tokenizer):
    assembler = ReplyAssembler(tokenizer, starts_in_thinking=True)
    stream = events(tokenizer, "I wonder", finish_reason="length", end=False)
    for event in stream:
        assembler.feed(event)
    assert (assembler.reply.thinking, assembler.reply.text) == ("I wonder", "")
    assert assembler.usage.reasoning_tokens == len(stream)
    assert assembler.finish_reason == "length"


def test_an_ending_without_a_token(tokenizer):
    assembler = ReplyAssembler(tokenizer)
    assembler.feed(TokenEvent(choice=0, index=0, token_id=tokenizer.encode("🌍")[0]))
    assembler.feed(TokenEvent(choice=0, index=1, token_id=None, finish_reason="cancelled"))
    assert assembler.reply.text == "\ufffd"
    assert assembler.usage.completion_tokens == 1


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text("ab#\n", max_size=20), st.sampled_from(["#", "##", "ab#", "\n\n"]), st.text("ab#\n", max_size=3))
def test_stop_strings_are_cut_and_never_shown(tokenizer, before, stop, after):
    whole = before + stop
    assembler = ReplyAssembler(tokenizer, stop=(stop, "never"))
    shown = ""
    seen = ""
    for token_id in tokenizer.encode(whole + after):
        seen += tokenizer.decode([token_id])
        stopped = stop in seen
        event = TokenEvent(
            choice=0,
            index=0,
            token_id=token_id,
            finish_reason="stop" if stopped else None,
            stop_string=stop if stopped else None,
        )
        shown += "".join(delta.text for delta in assembler.feed(event) if isinstance(delta, TextDelta))
        if stopped:
            break
    assert shown == whole[: whole.index(stop)]


def test_what_could_have_been_a_stop_string_is_shown_in_the_end(tokenizer):
    assembler = ReplyAssembler(tokenizer, stop=("#END#",))
    for event in events(tokenizer, "one #EN"):
        assembler.feed(event)
    assert assembler.reply.text == "one #EN"


def test_calls_are_streamed_when_a_grammar_holds_them(tokenizer):
    call = '<tool_calls>\n{"name": "f", "arguments": {"a": 1}}\n</tool_calls>'
    for constrained in (False, True):
        assembler = ReplyAssembler(tokenizer, constrained_calls=constrained, new_id=lambda: "id")
        deltas = [assembler.feed(event) for event in events(tokenizer, call)]
        started = next(i for i, new in enumerate(deltas) if ToolCallStart(0, "id", "f") in new)
        assert (len([new for new in deltas[started:] if new]) > 1) == constrained
        assert [(c.name, c.arguments) for c in assembler.reply.tool_calls] == [("f", '{"a": 1}')]


def test_nothing_follows_the_end(tokenizer):
    assembler = ReplyAssembler(tokenizer)
    for event in events(tokenizer, "Hi"):
        assembler.feed(event)
    with pytest.raises(AssertionError):
        assembler.feed(TokenEvent(choice=0, index=9, token_id=1))
