"""`/v1/completions` through OpenAI's client, against a script."""

import openai
import pytest
from scripted import Script


@pytest.fixture
def complete(openai_client):
    return lambda prompt="Once", **options: openai_client.completions.create(model="scripted", prompt=prompt, **options)


def test_text_is_not_read_for_thinking_or_calls(complete, say):
    say("<think>\nraw</think><tool_calls>")
    reply = complete(max_tokens=99)
    assert reply.choices[0].text == "<think>\nraw</think><tool_calls>"
    assert (reply.object, reply.choices[0].finish_reason) == ("text_completion", "stop")
    assert reply.usage.prompt_tokens == 4


def test_at_most_16_tokens_unless_more_are_asked_for(complete, say):
    say(Script(text="x" * 40, finish_reason="length"))
    assert len(complete().choices[0].text) == 16
    assert len(complete(max_tokens=30).choices[0].text) == 30


def test_many_prompts_and_choices_are_numbered_in_order(complete, say, tokenizer):
    say("first", "second")
    reply = complete(["a", "b"], n=2)
    assert [(choice.index, choice.text) for choice in reply.choices] == [
        (0, "first"), (1, "first"), (2, "second"), (3, "second"),
    ]  # fmt: skip
    assert reply.usage.completion_tokens == 2 * (len("first") + 1) + 2 * (len("second") + 1)
    say("first", "second")
    texts = [""] * 4
    for chunk in complete(["a", "b"], n=2, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == ["first", "first", "second", "second"]


def test_token_ids_are_taken_as_they_are(complete, say, served):
    complete([5, 6, 7])
    assert served.service.requests[-1][0] == [5, 6, 7]
    complete([[5, 6], [7]])
    assert [request[0] for request in served.service.requests[-2:]] == [[5, 6], [7]]


def test_control_tokens_of_the_prompt_are_read_as_such(complete, say, served, tokenizer):
    complete("<begin_of_document>x")
    assert served.service.requests[-1][0] == tokenizer.encode("<begin_of_document>x", allow_special=True)
    assert len(served.service.requests[-1][0]) == 2


def test_echo(complete, say):
    say(" upon a time")
    assert complete(echo=True).choices[0].text == "Once upon a time"
    assert "".join(chunk.choices[0].text for chunk in complete(echo=True, stream=True)) == "Once upon a time"
    assert complete([0, 1], echo=True).choices[0].text.endswith(" upon a time")


def test_stop_string_is_cut_though_it_begins_in_an_earlier_token(complete, say):
    say(Script(text="a\n\n", stop_string="\n\n"))
    assert complete(stop="\n\n").choices[0].text == "a"
    assert "".join(chunk.choices[0].text for chunk in complete(stop="\n\n", stream=True)) == "a"


def test_logprobs_are_columns(complete, say):
    say("hi")
    logprobs = complete(logprobs=1).choices[0].logprobs
    assert logprobs.tokens == ["h", "i", "<end_of_sentence>"]
    assert logprobs.token_logprobs == [-0.25] * 3
    assert logprobs.top_logprobs[0] == {"h": -0.25}
    assert logprobs.text_offset == [0, 1, 2]
    streamed = [chunk.choices[0].logprobs for chunk in complete(logprobs=1, stream=True)]
    assert [token for part in streamed for token in part.tokens] == logprobs.tokens
    assert [offset for part in streamed for offset in part.text_offset] == logprobs.text_offset


def test_stream_usage(complete, say):
    (*_, last) = complete(stream=True, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage.completion_tokens == len("Hello there.") + 1


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ("", {}, "empty"),
        ([], {}, "0 entries"),
        ([[]], {}, "empty"),
        ([99999], {}, "99999"),
        ("x", {"best_of": 3}, "best_of"),
        ("x", {"suffix": "y"}, "suffix"),
        ("x", {"echo": True, "logprobs": 1}, "echo"),
        ("x", {"max_tokens": 0}, "max_tokens"),
        ("x", {"logprobs": 21}, "logprobs"),
    ],
)
def test_what_is_refused(complete, say, prompt, options, words):
    with pytest.raises(openai.BadRequestError, match=words):
        complete(prompt, **options)


def test_one_failing_prompt_of_many_fails_all_and_leaves_nothing_running(complete, say, served):
    say(Script(text="fine", delay=0.05), Script(text="bad", fails_after=1))
    with pytest.raises(openai.InternalServerError):
        complete(["a", "b"])
    assert served.service.num_open == 0
