"""`/v1/responses/compact` through OpenAI's client, against a script."""

import httpx
import openai
import pytest
from scripted import Script

HISTORY = [
    {"role": "developer", "content": "Be exact."},
    {"role": "user", "content": "When do we launch?"},
    {"role": "assistant", "content": "On Tuesday."},
    {"type": "function_call", "call_id": "c", "name": "notify", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "support was told"},
]
SUMMARY = "Launch: Tuesday. Support was told."


@pytest.fixture
def compact(openai_client):
    return lambda **options: openai_client.responses.compact(model="scripted", **options)


@pytest.fixture
def prompt(served, tokenizer):
    """The text of the last prompt."""
    return lambda: tokenizer.decode(served.service.requests[-1][0])


def test_what_users_said_and_a_summary_of_the_rest(compact, say, http):
    say(Script(text=SUMMARY, cached_tokens=3))
    compacted = compact(input=HISTORY)
    assert compacted.object == "response.compaction"
    *kept, summary = compacted.output
    assert [(item.role, item.content[0].text) for item in kept] == [
        ("system", "Be exact."), ("user", "When do we launch?"),
    ]  # fmt: skip
    assert (summary.type, summary.encrypted_content) == ("compaction", SUMMARY)
    assert compacted.usage.output_tokens == len(SUMMARY) + 1
    assert compacted.usage.input_tokens_details.cached_tokens == 3
    raw = http.post("/v1/responses/compact", json={"model": "scripted", "input": HISTORY}).json()
    assert "warnings" not in raw


def test_the_model_sees_all_of_the_conversation_and_is_asked_at_the_end(compact, say, prompt):
    say(SUMMARY)
    compact(input=HISTORY, instructions="Be kind.")
    places = [prompt().index(text) for text in ("Be kind.", "Be exact.", "When do we launch?", "On Tuesday.",
                                                "support was told", "Summarise our conversation")]  # fmt: skip
    assert places == sorted(places)


def test_a_conversation_goes_on_from_its_summary(openai_client, compact, say, prompt):
    say(SUMMARY, "Yes, it was.")
    compacted = compact(input=HISTORY)
    items = [item.model_dump(exclude_none=True) for item in compacted.output]
    question = {"role": "user", "content": "Was support told?"}
    reply = openai_client.responses.create(model="scripted", input=[*items, question])
    assert reply.output_text == "Yes, it was."
    assert "When do we launch?" in prompt()
    assert SUMMARY in prompt()
    assert "On Tuesday." not in prompt()


def test_a_stored_response_can_be_compacted(openai_client, compact, say, prompt):
    say("On Tuesday.", SUMMARY)
    first = openai_client.responses.create(model="scripted", input="When do we launch?")
    assert compact(previous_response_id=first.id).output[-1].encrypted_content == SUMMARY
    assert "On Tuesday." in prompt()


def test_thinking_is_no_part_of_the_summary(compact, say):
    say(f"<think>\nWhat matters?\n</think>\n\n{SUMMARY}")
    assert compact(input="Hi").output[-1].encrypted_content == SUMMARY


def test_a_summary_without_an_end_says_so(compact, say):
    say(Script(text="Launch", finish_reason="length"))
    assert compact(input="Hi").warnings == ["the summary was cut off after 6 tokens"]


@pytest.mark.parametrize(
    ("options", "param"),
    [({}, "input"), ({"input": []}, "input"), ({"input": [{"type": "message", "role": "king"}]}, "input[0].role")],
)
def test_what_is_refused(compact, say, options, param):
    with pytest.raises(openai.BadRequestError) as error:
        compact(**options)
    assert error.value.param == param


def test_a_response_that_is_not_there(compact, say):
    with pytest.raises(openai.NotFoundError):
        compact(previous_response_id="resp_none")


def test_the_model_must_be_named(http: httpx.Client, say):
    assert http.post("/v1/responses/compact", json={"input": "Hi"}).status_code == 400
