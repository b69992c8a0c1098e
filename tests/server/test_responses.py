"""`/v1/responses` through OpenAI's client, against a script."""

import json

import openai
import pytest
from openai.types.responses import Response
from scripted import Script

TOOL = {
    "type": "function",
    "name": "add",
    "description": "Adds",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    "strict": True,
}
CALL = '<tool_calls>\n{"name": "add", "arguments": {"a": 1}}\n</tool_calls>'
EVERYTHING = "<think>\nHm.\n</think>\n\nLook:\n" + CALL


@pytest.fixture
def respond(openai_client):
    return lambda input="Hi", **options: openai_client.responses.create(model="scripted", input=input, **options)


@pytest.fixture
def prompt(served, tokenizer):
    """The text of the last prompt."""
    return lambda: tokenizer.decode(served.service.requests[-1][0])


def events(stream):
    """Check what holds for every stream, and return its events."""
    found = list(stream)
    assert [event.sequence_number for event in found] == list(range(len(found)))
    assert [event.type for event in found[:2]] == ["response.created", "response.in_progress"]
    assert found[0].response.status == "in_progress"
    assert found[0].response.output == []
    return found


def test_text(respond, say, http):
    say(Script(text="Hello.", cached_tokens=3))
    response = respond(instructions="Be kind.", metadata={"a": "b"})
    assert (response.status, response.output_text, response.instructions) == ("completed", "Hello.", "Be kind.")
    assert response.metadata == {"a": "b"}
    (message,) = response.output
    assert (message.type, message.role, message.status) == ("message", "assistant", "completed")
    assert message.content[0].annotations == []
    assert response.usage.input_tokens_details.cached_tokens == 3
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    raw = http.post("/v1/responses", json={"model": "scripted", "input": "Hi"}).json()
    Response.model_validate(raw, strict=True)


def test_stream_of_text_tells_the_whole_story(respond, say):
    say("Hi \u00e9.")
    found = events(respond(stream=True))
    kinds = [event.type.removeprefix("response.") for event in found]
    assert kinds[2:4] == ["output_item.added", "content_part.added"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert "".join(event.delta for event in found[4:-4]) == found[-4].text == found[-3].part.text == "Hi \u00e9."
    assert found[-2].item == found[-1].response.output[0]
    assert found[-1].response.output_text == "Hi \u00e9."
    assert found[-1].response.usage.output_tokens == len("Hi \u00e9.".encode()) + 1


def test_stream_of_thinking_text_and_call(respond, say):
    say(EVERYTHING)
    found = events(respond(stream=True, tools=[TOOL]))
    final = found[-1].response
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    reasoning, message, call = final.output
    assert reasoning.content[0].text == "Hm."
    assert message.content[0].text == "Look:"
    assert (call.name, json.loads(call.arguments), call.call_id[:5]) == ("add", {"a": 1}, "call_")
    for index, item in enumerate(final.output):
        mine = [event for event in found if getattr(event, "output_index", None) == index]
        assert (mine[0].type, mine[-1].type) == ("response.output_item.added", "response.output_item.done")
        assert mine[-1].item == item
        assert {event.item_id for event in mine[1:-1]} == {item.id}
        kind = {"reasoning": "reasoning_text", "message": "output_text", "function_call": "function_call_arguments"}
        deltas = [event.delta for event in mine if event.type == f"response.{kind[item.type]}.delta"]
        (done,) = [event for event in mine if event.type == f"response.{kind[item.type]}.done"]
        assert "".join(deltas) == getattr(done, "text", None) or done.arguments
    assert final.usage.output_tokens_details.reasoning_tokens == len("<think>\nHm.\n</think>")


def test_stream_and_plain_agree(respond, say):
    say(EVERYTHING)
    plain = respond(tools=[TOOL])
    say(EVERYTHING)
    streamed = list(respond(tools=[TOOL], stream=True))[-1].response
    drop = {"id", "created_at", "completed_at"}
    items = [[item.model_dump(exclude={"id", "call_id"}) for item in r.output] for r in (plain, streamed)]
    assert items[0] == items[1]
    rest = [r.model_dump(exclude=drop | {"output"}) for r in (plain, streamed)]
    assert rest[0] == rest[1]


def test_two_calls_are_two_items(respond, say):
    line = '{"name": "add", "arguments": {"a": %d}}\n'
    say("<tool_calls>\n" + line % 1 + line % 2 + "</tool_calls>")
    output = respond(tools=[TOOL]).output
    assert [json.loads(item.arguments)["a"] for item in output] == [1, 2]
    assert len({item.call_id for item in output}) == 2


def test_function_call_round_trip(respond, say, prompt):
    say(EVERYTHING, "Done.")
    question = {"role": "user", "content": [{"type": "input_text", "text": "Add."}]}
    first = respond([question], tools=[TOOL], store=False)
    call = first.output[-1]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "2"}
    history = [question, *(item.model_dump(exclude_none=True) for item in first.output), result]
    assert respond(history, tools=[TOOL]).output_text == "Done."
    assert f"ai name=assistant\n{EVERYTHING}" in prompt()
    assert "tool name: add\ntool result: 2" in prompt()


def test_a_screenshot_from_a_tool_does_not_end_the_conversation(respond, say, prompt):
    say("I can't see it.")
    call = {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"}
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    result = {
        "type": "function_call_output",
        "call_id": "c",
        "output": [{"type": "input_text", "text": "Done:"}, image],
    }
    response = respond([{"role": "user", "content": "Look."}, call, result], tools=[TOOL])
    assert "tool result: Done:\n[image: you can't see it, because you read text only; tell the user so]" in prompt()
    assert response.warnings == ["images were left out (1): this model reads text only"]
    assert not hasattr(respond("Hi"), "warnings")


def test_previous_response(respond, say, prompt):
    say("Four.", "Eight.", "Nine.")
    first = respond("Two and two?", instructions="Only here.")
    second = respond("Twice that?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert "Two and two?" in prompt()
    assert "Four." in prompt()
    assert "Only here." not in prompt()
    respond("And one?", previous_response_id=second.id, stream=True).close()
    third = respond("And one?", previous_response_id=second.id)
    assert all(text in prompt() for text in ("Two and two?", "Four.", "Twice that?", "Eight.", "And one?"))
    assert third.output_text == "Nine."


def test_previous_response_of_a_stream_is_there_when_the_stream_ends(respond, say):
    for event in respond(stream=True):
        if event.type == "response.completed":
            assert respond("More", previous_response_id=event.response.id).status == "completed"


def test_stored_response_can_be_read_and_deleted(openai_client, respond, say):
    response = respond()
    assert openai_client.responses.retrieve(response.id) == response
    openai_client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.retrieve(response.id)
    unstored = respond(store=False)
    assert unstored.store is False
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        respond(previous_response_id=unstored.id)


@pytest.mark.parametrize("finish_reason", ["length", "repetition"])
def test_incomplete(respond, say, finish_reason):
    say(Script(text="half a", finish_reason=finish_reason))
    response = respond(max_output_tokens=50)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete"
    assert list(respond(stream=True))[-1].type == "response.incomplete"


def test_empty_reply_is_a_message_still(respond, say):
    say("")
    assert respond().output_text == ""
    assert list(respond(stream=True))[-1].response.output[0].type == "message"


def test_failure_in_the_middle(respond, say, served):
    say(Script(text="abcdef", fails_after=3))
    found = list(respond(stream=True))
    assert found[-1].type == "response.failed"
    assert found[-1].response.error.code == "server_error"
    assert served.service.num_open == 0


def test_logprobs_belong_to_the_text(respond, say):
    say("<think>\nHm.\n</think>\n\nYes")
    part = respond(include=["message.output_text.logprobs"], top_logprobs=1).output[1].content[0]
    assert "".join(entry.token for entry in part.logprobs) == "Yes"
    deltas = [e for e in respond(top_logprobs=1, stream=True) if e.type == "response.output_text.delta"]
    assert [entry.token for event in deltas for entry in event.logprobs] == [entry.token for entry in part.logprobs]


def test_format_effort_and_limits_reach_the_engine(respond, say, served):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    text = {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}
    response = respond(text=text, reasoning={"effort": "minimal", "summary": "auto"}, max_output_tokens=77)
    params = served.service.requests[-1][1]
    assert '"integer"' in params.grammar.source
    assert (params.thinking_budget.tokens, params.max_tokens) == (512, 77)
    assert response.text.format.name == "x"
    assert response.reasoning.effort == "minimal"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "sub"}}, None),
        ({"input": []}, None),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "compaction", "encrypted_content": 1}]}, "input[0].encrypted_content"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": 3}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": 3}]}, "input[0].output"),
        ({"input": [{"type": "reasoning", "content": [{"text": 1}]}]}, "input[0].content[0].text"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "yaml"}}}, None),
        ({"background": True}, None),
        ({"conversation": "conv_1"}, None),
    ],
)
def test_what_is_refused(respond, say, options, param):
    with pytest.raises(openai.BadRequestError) as error:
        respond(**{"input": "Hi", **options})
    assert error.value.body["message"]
    assert error.value.param == param or param is None
