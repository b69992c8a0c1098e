"""Whatever is sent, the answer is 4xx in OpenAI's form, and the server lives on."""

import json
import socket

import openai
import pytest

CHAT = "/v1/chat/completions"
ASK = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}
HUGE = "1" + "0" * 5000


def error_of(response, status=400):
    """Check the form of an error and return it."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/tokenize", "/detokenize"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe{}", b'{"messages": "\xff"}', b"{'a': 1}", b'{"a": NaN}',
        b'{"temperature": Infinity}', b'{"temperature": 1e999}', b'{"seed": ' + HUGE.encode() + b"}",
        b'{"seed": 36893488147419103232}', b'{"model": "\\ud800"}', b'{"\\udfff": 1}',
        b"[" * 50_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"a": ' + b"[" * 80 + b"]" * 80 + b"}", b"\x00", b'{"messages": [{"role": "user", "content": "\x01"}]}',
    ],
)  # fmt: skip
def test_bodies(http, say, path, body):
    error_of(http.post(path, content=body, headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/json5"])
def test_content_type(http, say, content_type):
    body = json.dumps(ASK).encode()
    error = error_of(http.post(CHAT, content=body, headers={"Content-Type": content_type}), 415)
    assert "application/json" in error["message"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_content_type_may_have_a_charset(http, say, content_type):
    body = json.dumps(ASK).encode()
    assert http.post(CHAT, content=body, headers={"Content-Type": content_type}).status_code == 200


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
         "messages[0].content[0].image_url"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
         "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "none"}]}, "messages[0].tool_call_id"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 2**62}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"seed": 2**63}, "seed"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 1000}}, "logit_bias[1]"),
        ({"stop": ""}, "stop[0]"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": 3}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"items": {"not": {}}}}}},
         "response_format.json_schema.schema.items.not"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "strng"}}}},
         "response_format.json_schema.schema.type"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {
            "properties": {"x": {"minimum": "x"}}}}}},
         "response_format.json_schema.schema.properties.x.minimum"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"multipleOf": 0}}}},
         "response_format.json_schema.schema.multipleOf"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {
            "properties": {"x": {"minLength": 5, "maxLength": 2}}}}}]}, "tools[0].parameters.properties.x.minLength"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "browser"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
         "tools[0].parameters.type"),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {
            "properties": {"x": {"uniqueItems": True}}}}}]}, "tools[0].parameters.properties.x.uniqueItems"),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {
            "additionalProperties": {"type": "integer"}, "minProperties": 3}}}]}, "tools[0].parameters.minProperties"),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {
            "properties": {"x": {"oneOf": [{"type": "integer"}, {"type": "number"}]}}}}}]},
         "tools[0].parameters.properties.x.oneOf"),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": 1}}]}, "tools[0].function.strict"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"thinking_budget": -1}, "thinking_budget"),
        ({"repetition_stop": {"tokens": 0}}, "repetition_stop.tokens"),
        ({"repetition_stop": {"probability": 2}}, "repetition_stop.probability"),
        ({"repetition_stop": True}, "repetition_stop"),
    ],
)  # fmt: skip
def test_fields(http, say, change, param):
    error = error_of(http.post(CHAT, json={**ASK, **change}))
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, {"messages": ASK["messages"]}), ("/v1/completions", {"prompt": "Hi"}), ("/v1/responses", {"input": "Hi"})],
)
def test_a_request_must_name_the_model(http, say, path, body):
    error = error_of(http.post(path, json=body))
    assert (error["param"], error["message"]) == ("model", "model: Field required")


def test_nulls_mean_default(http, say):
    names = ("temperature", "top_p", "max_tokens", "stop", "tools", "tool_choice", "response_format", "n", "seed")
    assert http.post(CHAT, json={**ASK, **dict.fromkeys(names)}).status_code == 200


def test_unknown_paths_methods_and_models(http, openai_client, say):
    assert error_of(http.get("/nowhere"), 404)["type"] == "not_found_error"
    error_of(http.get(CHAT), 405)
    error_of(http.post("/v1/models", json={}), 405)
    with pytest.raises(openai.NotFoundError, match="scripted") as error:
        openai_client.chat.completions.create(model="gpt-4", messages=ASK["messages"])
    assert (error.value.code, error.value.param) == ("model_not_found", "model")


def test_openai_client_raises_its_own_errors(openai_client, say):
    with pytest.raises(openai.BadRequestError) as error:
        openai_client.chat.completions.create(model="scripted", messages=ASK["messages"], temperature=7)
    assert error.value.param == "temperature"


def test_no_http_at_all(address, http, say):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"\x00\x01\x02 rubbish\r\n\r\n")
        assert b"400" in connection.recv(1000)
    assert http.get("/health").status_code == 200


def test_a_request_that_ends_early_harms_nobody(address, http, say):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: 1000\r\n\r\n{")
    assert http.post(CHAT, json=ASK).status_code == 200
