"""What a request passes before an endpoint sees it: keys, sizes, the queue, the drain; and clients that leave."""

import http.client
import json
import logging
import socket
import time

import httpx
import openai
import pytest
from scripted import Script
from serving import running

from fulmen.chat.tokenizer import Tokenizer
from fulmen.engine.request import ContextTooLong, QueueFull
from fulmen.engine.service import EngineFailed, ServiceClosed
from fulmen.server.auth import keys_from_environment
from fulmen.server.served_model import ServerOptions

CHAT = "/v1/chat/completions"
ASK = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}


def until(condition):
    """Wait for what another thread will do."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(scope="module")
def guarded(served):
    with running(served, ServerOptions(api_keys=("first", "s\u00e9cret"))) as address:
        yield address


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401), ("", 401), ("Bearer", 401), ("Bearer wrong", 401), ("Bearer firs", 401), ("Bearer first2", 401),
        ("Basic first", 401), ("first", 401), ("Bearer \u00ff", 401), ("Bearer first", 200), ("bearer first", 200),
        ("Bearer s\u00e9cret", 200),
    ],
)  # fmt: skip
def test_api_key(guarded, header, status):
    headers = {} if header is None else {"Authorization": header.encode("latin-1" if "\u00ff" in header else "utf-8")}
    response = httpx.get(f"{guarded}/v1/models", headers=headers)
    assert response.status_code == status
    if status == 401:
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"


def test_openai_client_with_a_key(guarded, say):
    ask = {"model": "scripted", "messages": ASK["messages"]}
    with openai.OpenAI(base_url=f"{guarded}/v1", api_key="first") as client:
        assert client.chat.completions.create(**ask).choices
    with openai.OpenAI(base_url=f"{guarded}/v1", api_key="other") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(**ask)


def test_probes_need_no_key(guarded):
    assert httpx.get(f"{guarded}/health").status_code == 200
    assert httpx.get(f"{guarded}/metrics").status_code == 200
    assert httpx.get(f"{guarded}/openapi.json").status_code == 401


def test_keys_from_environment(monkeypatch):
    monkeypatch.setenv("FULMEN_API_KEYS", "a, b\nc,,")
    assert keys_from_environment() == ("a", "b", "c")
    monkeypatch.delenv("FULMEN_API_KEYS")
    assert keys_from_environment() == ()


def test_keys_are_not_printed():
    assert "secret" not in repr(ServerOptions(api_keys=("secret",)))


def test_body_limit(http, say):
    at_limit = json.dumps(ASK).encode()
    at_limit += b" " * (100_000 - len(at_limit))
    headers = {"Content-Type": "application/json"}
    assert http.post(CHAT, content=at_limit, headers=headers).status_code == 200
    for content in (at_limit + b" ", iter([at_limit, b" "])):  # with a content length, and in chunks without one
        response = http.post(CHAT, content=content, headers=headers)
        assert response.status_code == 413
        assert "100000" in response.json()["error"]["message"]


def test_false_content_length_is_refused_before_the_body_is_sent(address):
    host, port = address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    connection.putrequest("POST", CHAT)
    connection.putheader("Content-Length", "9" * 15)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (QueueFull("9 requests wait already"), 429, "queue_full"),
        (ContextTooLong("the prompt has 10 tokens; the context is 5"), 400, "context_length_exceeded"),
        (ValueError("the prompt is empty"), 400, "invalid_value"),
        (ServiceClosed("closing"), 503, "draining"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_engine_refuses(http, say, served, refusal, status, code, stream):
    served.service.refusal = refusal
    response = http.post(CHAT, json={**ASK, "stream": stream})
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["message"] == str(refusal)
    assert ("retry-after" in response.headers) == (status == 429)


def test_openai_client_sees_a_full_queue(openai_client, say, served):
    served.service.refusal = QueueFull("full")
    with pytest.raises(openai.RateLimitError):
        openai_client.chat.completions.create(**ASK)


def test_refusal_of_a_later_prompt_cancels_the_earlier(http, say, served):
    submit, served.service.submit = served.service.submit, None

    async def once(ids, params):
        served.service.refusal = QueueFull("full") if served.service.requests else None
        return await submit(ids, params)

    served.service.submit = once
    try:
        response = http.post("/v1/completions", json={"model": "scripted", "prompt": ["a", "b"]})
    finally:
        served.service.submit = submit
    assert response.status_code == 429
    assert served.service.num_open == 0


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        (CHAT, ASK),
        ("/v1/completions", {"model": "scripted", "prompt": "Hi"}),
        ("/v1/responses", {"model": "scripted", "input": "Hi"}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_client_that_leaves_ends_its_generation(address, say, served, path, ask, stream):
    say(Script(text="x" * 1000, delay=0.02))
    host, port = address.removeprefix("http://").split(":")
    body = json.dumps({**ask, "max_tokens": 1000, "stream": stream}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: served.service.num_open)
    until(lambda: not served.service.num_open)


def test_stream_closed_by_openai_client_ends_its_generation(openai_client, say, served):
    say(Script(text="x" * 1000, delay=0.02))
    stream = openai_client.chat.completions.create(**ASK, stream=True)
    next(stream)
    stream.close()
    until(lambda: not served.service.num_open)


def test_drain(served, say):
    """Running streams finish, new work is refused, and then the server ends by itself."""
    import signal
    import threading

    from fulmen.server.run import make_server

    say(Script(text="x" * 20, delay=0.02))
    server = make_server(served, ServerOptions(drain_seconds=20))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.stream("POST", address + CHAT, json={**ASK, "stream": True}) as response:
            lines = response.iter_lines()
            assert "assistant" in next(lines)
            server.handle_exit(signal.SIGTERM, None)
            refused = httpx.post(address + CHAT, json=ASK)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            assert refused.headers["retry-after"]
            health = httpx.get(f"{address}/health")
            assert (health.status_code, health.json()) == (503, {"status": "draining"})
            assert list(lines)[-2] == "data: [DONE]"
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_health_says_when_the_engine_has_died(served, say):
    with running(served) as address:
        assert httpx.get(f"{address}/health").json() == {"status": "ok"}
        served.service.refusal = EngineFailed("out of memory")
        assert httpx.post(address + CHAT, json=ASK).status_code == 500
        health = httpx.get(f"{address}/health")
        assert (health.status_code, health.json()) == (503, {"status": "failed"})


def test_web_pages_may_call_only_when_allowed(served, http, say):
    ask = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in http.options(CHAT, headers=ask).headers
    options = ServerOptions(cors_origins=("https://page.example",), api_keys=("k",))
    with running(served, options) as address:
        allowed = httpx.options(address + CHAT, headers=ask)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ask["Origin"])
        other = httpx.options(address + CHAT, headers={**ask, "Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers
        refused = httpx.post(address + CHAT, json=ASK, headers={"Origin": ask["Origin"]})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ask["Origin"])


def test_log_line_per_request(http, say, caplog):
    say(Script(text="Hello.", cached_tokens=2))
    with caplog.at_level(logging.INFO, logger="fulmen.server"):
        http.post(CHAT, json=ASK)
        http.get("/nowhere")
        until(lambda: len(caplog.messages) == 2)
    assert caplog.messages[0].startswith(f"POST {CHAT} 200 prompt=")
    assert " cached=2 reply=7 " in caplog.messages[0]
    assert caplog.messages[1].startswith("GET /nowhere 404 ")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", lambda text: {"messages": [{"role": "user", "content": text}]}),
        ("/v1/completions", lambda text: {"prompt": text}),
        ("/v1/responses", lambda text: {"input": text}),
    ],
)
def test_what_can_not_fit_is_refused_before_it_is_tokenized(http, say, served, monkeypatch, path, body):
    seen = []
    encode = Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda *args, **options: seen.append(args) or encode(*args, **options))
    longest = len("<beginning_of_sentence>")
    fits = http.post(path, json={"model": "scripted", **body("x" * 2000), "max_tokens": 1})
    assert fits.status_code == 200
    assert seen
    seen.clear()
    refused = http.post(path, json={"model": "scripted", **body("x" * longest * served.max_context)})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert f"{served.max_context:,} tokens or more; the context is {served.max_context:,}" in refused.text
    assert not seen
