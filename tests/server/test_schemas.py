"""Answers and events against the published schemas, with what a small model seldom does: thinking, calls, failures.

The schemas are those that llm-comply carries: OpenAI's chat completions and Open Responses.
"""

import json
from pathlib import Path

import llm_comply
import openai.types.responses
import pytest
from llm_comply.schema import SSE_EVENT_TO_SCHEMA, SpecLoader
from openai.types.chat import ChatCompletionChunk
from scripted import Script

SPECS = Path(llm_comply.__file__).parent / "specs"
TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALL = '{"name": "add", "arguments": {"a": 1}}\n'
EVERYTHING = f"<think>\nHm.\n</think>\n\nLook:\n<tool_calls>\n{CALL}{CALL}</tool_calls>"
REPLIES = [
    Script(text="Hello."),
    Script(text=EVERYTHING),
    Script(text=""),
    Script(text="half a", finish_reason="length"),
    Script(text="<think>\nhalf a", finish_reason="length"),
]
THINKING_EVENTS = {
    "response.reasoning_text.delta": openai.types.responses.ResponseReasoningTextDeltaEvent,
    "response.reasoning_text.done": openai.types.responses.ResponseReasoningTextDoneEvent,
}
"""Open Responses calls them `response.reasoning.delta`, OpenAI's client and the toolkits know this name alone."""


@pytest.fixture(scope="module")
def open_responses():
    return SpecLoader(str(SPECS / "openresponses.json"))


@pytest.fixture(scope="module")
def openai_chat():
    return SpecLoader(str(SPECS / "openai_chat.json"))


def streamed(http, path, body):
    """Return the data of a stream's events."""
    lines = http.post(path, json={**body, "stream": True}).text.splitlines()
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(event) for event in data[:-1]]


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"top_logprobs": 1, "reasoning": {"effort": "low"}, "store": False}])
@pytest.mark.parametrize("reply", REPLIES, ids=repr)
def test_responses(http, say, open_responses, reply, options):
    say(reply)
    body = {"model": "scripted", "input": "Hi", "tools": [{"type": "function", **TOOL}], **options}
    whole = http.post("/v1/responses", json=body).json()
    assert open_responses.validate(whole, "ResponseResource") == []
    for event in streamed(http, "/v1/responses", body):
        if event["type"] in THINKING_EVENTS:
            assert event["type"] not in SSE_EVENT_TO_SCHEMA
            THINKING_EVENTS[event["type"]].model_validate(event, strict=True)
        else:
            assert open_responses.validate_sse_event(event["type"], event) == []


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_a_response_that_fails(http, say, open_responses):
    say(Script(text=EVERYTHING, fails_after=40))
    events = streamed(http, "/v1/responses", {"model": "scripted", "input": "Hi"})
    assert events[-1]["type"] == "response.failed"
    assert open_responses.validate_sse_event("response.failed", events[-1]) == []


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_a_compacted_conversation(http, say, open_responses):
    say("We said hello.")
    history = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    compacted = http.post("/v1/responses/compact", json={"model": "scripted", "input": history}).json()
    assert open_responses.validate(compacted, "CompactResource") == []


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"logprobs": True, "top_logprobs": 1, "n": 2}])
@pytest.mark.parametrize("reply", REPLIES, ids=repr)
def test_chat_completions(http, say, openai_chat, reply, options):
    say(reply)
    body = {
        "model": "scripted",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"type": "function", "function": TOOL}],
        **options,
    }
    whole = http.post("/v1/chat/completions", json=body).json()
    assert openai_chat.validate(whole, "CreateChatCompletionResponse") == []
    body["stream_options"] = {"include_usage": True}
    chunks = streamed(http, "/v1/chat/completions", body)
    assert chunks
    for chunk in chunks:
        ChatCompletionChunk.model_validate(
            chunk, strict=True
        )  # the schema forbids the nulls that OpenAI's guide asks for
