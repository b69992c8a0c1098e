"""`/v1/chat/completions` through OpenAI's client, against a script."""

import json

import httpx
import openai
import pytest
from scripted import Script
from serving import running

from fulmen.server.served_model import ServerOptions
from fulmen.trace import RepetitionStop

ASK = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = '<tool_calls>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_calls>'


@pytest.fixture
def chat(openai_client):
    return lambda **options: openai_client.chat.completions.create(**{**ASK, **options})


def test_reply_has_every_key_that_strict_clients_want(http, say, tokenizer):
    say("Hello \u00e9t\u00e9.")
    reply = http.post("/v1/chat/completions", json=ASK).json()
    assert reply["object"] == "chat.completion"
    assert reply["system_fingerprint"].startswith("fp_")
    (choice,) = reply["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "Hello \u00e9t\u00e9.",
        "refusal": None,
        "annotations": [],
    }
    assert (choice["logprobs"], choice["finish_reason"], choice["stop_reason"]) == (None, "stop", None)
    assert reply["usage"]["completion_tokens"] == len(tokenizer.encode("Hello \u00e9t\u00e9.")) + 1
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"]


def test_stream_adds_up_to_the_reply(chat, say):
    say("Bonjour \u00e0 tous \U0001f600!")
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == "Bonjour \u00e0 tous \U0001f600!"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]].count("stop") == 1
    assert chunks[-1].choices == []
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].usage.prompt_tokens == chat().usage.prompt_tokens


def test_stream_without_usage_has_none(http, say):
    with http.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True}) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    assert not any("usage" in json.loads(line.removeprefix("data: ")) for line in lines[:-1])


def test_thinking_stands_apart(chat, say):
    say(Script(text="<think>\nHm.\n</think>\n\nYes.", cached_tokens=7))
    reply = chat()
    assert reply.choices[0].message.content == "Yes."
    assert reply.choices[0].message.reasoning_content == "Hm."
    assert reply.usage.completion_tokens_details.reasoning_tokens == len("<think>\nHm.\n</think>")
    assert reply.usage.prompt_tokens_details.cached_tokens == 7
    say("<think>\nHm.\n</think>\n\nYes.")
    deltas = [chunk.choices[0].delta for chunk in chat(stream=True)]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm."
    assert "".join(delta.content or "" for delta in deltas) == "Yes."


def test_tool_calls(chat, say):
    say("Let me see.\n" + CALL)
    (choice,) = chat(tools=[WEATHER]).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_message_of_calls_alone_has_null_content(chat, say):
    say(CALL)
    assert chat(tools=[WEATHER]).choices[0].message.content is None


def test_tool_calls_stream_while_they_grow(openai_client, say):
    say(CALL)
    with openai_client.chat.completions.stream(**ASK, tools=[WEATHER]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert kinds.count("tool_calls.function.arguments.delta") > 3
    (call,) = final.choices[0].message.tool_calls
    assert (call.id[:5], call.function.arguments) == ("call_", '{"city": "Paris"}')
    assert final.choices[0].finish_reason == "tool_calls"


def test_tool_round_trip_reaches_the_prompt(chat, say, served, tokenizer):
    say(CALL, "Sunny.")
    message = chat(tools=[WEATHER]).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "21 degrees"}
    chat(tools=[WEATHER], messages=[*ASK["messages"], message.model_dump(exclude_none=True), result])
    prompt = tokenizer.decode(served.service.requests[-1][0])
    assert '"get_weather", "arguments": {"city": "Paris"}' in prompt
    assert "tool name: get_weather\ntool result: 21 degrees" in prompt


def test_images_are_answered_with_a_warning_that_nobody_saw_them(chat, say, served, tokenizer):
    say("I can't see images.")
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    ask = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}]}
    (choice,) = chat(**ask).choices
    assert choice.message.content == "I can't see images."
    assert choice.warnings == ["images were left out (1): this model reads text only"]
    assert [chunk.choices[0] for chunk in chat(**ask, stream=True)][-1].warnings == choice.warnings
    prompt = tokenizer.decode(served.service.requests[-1][0])
    assert "What is this?\n[image: you can't see it, because you read text only; tell the user so]" in prompt
    assert "AAAA" not in prompt


def test_malformed_call_reaches_the_client_as_text_with_a_warning(chat, say):
    say("<tool_calls>\n{broken\n</tool_calls>")
    choice = chat(tools=[WEATHER], tool_choice="none").choices[0]
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert "{broken" in choice.message.content
    assert choice.warnings
    (*_, last) = chat(tools=[WEATHER], tool_choice="none", stream=True)
    assert last.choices[0].warnings == choice.warnings


def test_call_that_is_cut_off_is_no_call_in_a_whole_answer(chat, say):
    say(Script(text="Let me see.\n" + CALL[:60], finish_reason="length"))
    choice = chat(tools=[WEATHER]).choices[0]
    assert (choice.finish_reason, choice.message.tool_calls) == ("length", None)
    assert choice.message.content == "Let me see.\n" + CALL[:60].removeprefix("<tool_calls>\n")
    assert choice.warnings


def test_answer_whose_grammar_broke_off_is_incomplete_with_a_warning(chat, say):
    say(Script(text='{"a": ', finish_reason="grammar"))
    choice = chat().choices[0]
    assert (choice.finish_reason, choice.stop_reason) == ("length", "grammar")
    assert "schema" in choice.warnings[0]


def test_logprobs(chat, say, tokenizer):
    say("h\u00e9")
    content = chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert [bytes(entry.bytes) for entry in content] == [b"h", b"\xc3", b"\xa9", b""]
    assert [entry.token for entry in content] == ["h", "\ufffd", "\ufffd", "<end_of_sentence>"]
    assert all(entry.logprob == -0.25 and len(entry.top_logprobs) == 2 for entry in content)
    assert content[0].top_logprobs[1].logprob == -9999.0
    chunks = list(chat(logprobs=True, stream=True))
    streamed = [entry for chunk in chunks if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content]
    assert [entry.token for entry in streamed] == [entry.token for entry in content]
    assert streamed[0].top_logprobs == []


def test_n_choices(chat, say):
    say("One.")
    reply = chat(n=3)
    assert [(choice.index, choice.message.content) for choice in reply.choices] == [(i, "One.") for i in range(3)]
    texts = ["", "", ""]
    for chunk in chat(n=3, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == ["One."] * 3


def test_options_reach_the_engine(chat, say, served):
    chat(
        temperature=0.5, top_p=0.9, presence_penalty=0.1, frequency_penalty=-0.2, seed=7, max_completion_tokens=9,
        logit_bias={"5": -3.5}, stop=["\n", "END"], extra_body={"top_k": 4, "min_p": 0.05, "repetition_penalty": 1.1},
    )  # fmt: skip
    params = served.service.requests[-1][1]
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.5, 0.9, 4, 0.05)
    assert (params.presence_penalty, params.frequency_penalty, params.repetition_penalty) == (0.1, -0.2, 1.1)
    assert (params.seed, params.max_tokens, dict(params.logit_bias)) == (7, 9, {5: -3.5})
    assert params.stop == ("\n", "END")


@pytest.mark.parametrize(
    ("options", "budget"),
    [
        ({"reasoning_effort": "none"}, 0),
        ({"reasoning_effort": "low"}, 2048),
        ({"reasoning_effort": "high"}, 40_000),
        ({"reasoning_effort": "high", "extra_body": {"thinking_budget": 5}}, 5),
    ],
)
def test_thinking_budget(chat, say, served, options, budget):
    chat(**options)
    assert served.service.requests[-1][1].thinking_budget.tokens == budget


@pytest.mark.parametrize(
    ("field", "stop"),
    [
        ({}, RepetitionStop(tokens=3000, probability=0.99)),
        ({"repetition_stop": {"tokens": 12, "probability": 0.5}}, RepetitionStop(tokens=12, probability=0.5)),
        ({"repetition_stop": {"tokens": 12}}, RepetitionStop(tokens=12, probability=0.99)),
    ],
)
def test_repetition_stop(chat, say, served, field, stop):
    chat(extra_body=field)
    assert served.service.requests[-1][1].repetition_stop == stop


def test_no_thinking_budget_unless_asked(chat, say, served):
    chat()
    assert served.service.requests[-1][1].thinking_budget is None


def test_keep_thinking(chat, say, served, tokenizer):
    history = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two.", "reasoning_content": "secret"},
        {"role": "user", "content": "And?"},
    ]
    chat(messages=history)
    assert "secret" not in tokenizer.decode(served.service.requests[-1][0])
    chat(messages=history, extra_body={"keep_thinking": True})
    assert "secret" in tokenizer.decode(served.service.requests[-1][0])


@pytest.mark.parametrize(
    ("script", "finish_reason", "stop_reason", "text"),
    [
        (Script(text="cut", finish_reason="length"), "length", None, "cut"),
        (Script(text="la la", finish_reason="repetition"), "length", "repetition", "la la"),
        (Script(text="one END", stop_string="END"), "stop", "END", "one "),
    ],
)
def test_finish_reasons(chat, say, script, finish_reason, stop_reason, text):
    say(script)
    choice = chat(stop=["END"]).choices[0]
    assert (choice.finish_reason, choice.stop_reason, choice.message.content) == (finish_reason, stop_reason, text)
    chunks = list(chat(stop=["END"], stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert (chunks[-1].choices[0].finish_reason, chunks[-1].choices[0].stop_reason) == (finish_reason, stop_reason)


def test_response_format_becomes_a_grammar(chat, say, served):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}})
    assert '"integer"' in served.service.requests[-1][1].grammar.source
    chat(response_format={"type": "text"})
    assert served.service.requests[-1][1].grammar is None


def test_unknown_fields_are_ignored(chat, say):
    assert chat(store=True, metadata={"a": "b"}, user="me", extra_body={"foo": [1], "safety": None}).choices


def test_failure_in_the_middle_ends_the_stream_with_an_error(chat, http, say, served):
    say(Script(text="abcdef", fails_after=3))
    with pytest.raises(openai.APIError, match="failed"):
        list(chat(stream=True))
    assert http.post("/v1/chat/completions", json=ASK).status_code == 500
    assert served.service.num_open == 0


def test_silent_stream_is_kept_open_by_comments(served, say):
    say(Script(text="ab", delay=0.15))
    with running(served, ServerOptions(ping_seconds=0.02)) as address:
        lines = httpx.post(f"{address}/v1/chat/completions", json={**ASK, "stream": True}).text.splitlines()
    assert lines.count(": still here") > 3
    assert lines[-2] == "data: [DONE]"
