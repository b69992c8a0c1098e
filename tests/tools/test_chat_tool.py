"""A model as a tool, asked through OpenAI's chat API."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from calling import answer

from fulmen.tools.chat_tool import ask_endpoint, chat_tool
from fulmen.tools.registry import ToolRegistry


@contextmanager
def endpoint(status, body):
    """A server that answers everything with `body`; yields its address and the requests it gets."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
        server.shutdown()


def test_a_question_and_its_answer():
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "42"}}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    with endpoint(200, body) as (url, requests):
        registry = ToolRegistry([chat_tool(ask_endpoint(url, "m"), "m")])
        assert answer(registry, "chat", {"message": "17 + 25?", "system": "Be brief."}).content == "42"
        assert answer(registry, "chat", {"message": "17 + 25?"}).content == "42"
    assert [request["model"] for request in requests] == ["m", "m"]
    assert requests[0]["messages"] == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "17 + 25?"}
    ]  # fmt: skip
    assert len(requests[1]["messages"]) == 1


def test_an_endpoint_that_refuses():
    with endpoint(400, {"error": {"message": "no such model"}}) as (url, _):
        result = answer(ToolRegistry([chat_tool(ask_endpoint(url, "m"), "m")]), "chat", {"message": "Hi"})
    assert result.failed
    assert "no such model" in result.content
