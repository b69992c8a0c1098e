"""An OpenAI-compatible endpoint on a real socket that says what a test wrote down, and keeps what it was asked."""

import json
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Say:
    """A reply, streamed in pieces of a few letters."""

    text: str = ""
    calls: tuple = ()
    """(name, arguments) of each call; arguments that are no string are written as JSON."""
    thinking: str = ""
    finish_reason: str | None = None
    usage: tuple = (50, 10)
    """Tokens of prompt and reply; None leaves the usage out."""
    ids: tuple = ()
    """Of the calls; numbered through all replies by default."""
    warnings: tuple = ()
    endless: bool = False
    """Repeat the text until nobody listens."""
    cut: bool = False
    """Close the connection after the first pieces."""
    hang: bool = False
    """Say nothing more after the first pieces."""
    garbage: bool = False
    """Send something that is no JSON."""
    same_index: bool = False
    """Number all calls 0, as some servers do."""


@dataclass
class Refuse:
    """An error instead of a reply."""

    status: int
    message: str = "no"
    code: str | None = None


def call(name, /, **arguments):
    """A call for `Say.calls`."""
    return name, arguments


@dataclass
class Endpoint:
    """What a test holds of the server."""

    address: str = ""
    script: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    models: tuple = (("scripted", "test"),)
    stopping: threading.Event = field(default_factory=threading.Event)

    def say(self, *replies):
        """Write down what comes next; strings are plain answers, functions get the request and return a reply."""
        self.script = [Say(reply) if isinstance(reply, str) else reply for reply in replies]
        self.requests.clear()

    def next(self, request):
        self.requests.append(request)
        if not self.script:
            return Refuse(500, "the script has ended")
        reply = self.script.pop(0)
        return reply(request) if callable(reply) else reply

    def results(self, request=-1):
        """The contents of the tool messages of a request, in order."""
        return [message["content"] for message in self.requests[request]["messages"] if message["role"] == "tool"]


@contextmanager
def running():
    """Serve in a thread; yields the `Endpoint`."""
    endpoint = Endpoint()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(endpoint))
    server.daemon_threads = True
    endpoint.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield endpoint
    endpoint.stopping.set()
    server.shutdown()
    server.server_close()


def handler(endpoint):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # the end of the connection ends the stream

        def log_message(self, *args):
            pass

        def do_GET(self):
            cards = [
                {"id": name, "object": "model", "created": 0, "owned_by": owner} for name, owner in endpoint.models
            ]
            self.send_json(200, {"object": "list", "data": cards} if cards else {"error": {"message": "none"}})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body["authorization"] = self.headers.get("Authorization")
            reply = endpoint.next(body)
            if isinstance(reply, Refuse):
                error = {"message": reply.message, "type": "error", "param": None, "code": reply.code}
                self.send_json(reply.status, {"error": error})
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.stream(reply)

        def stream(self, reply):
            if reply.thinking:
                self.deltas("reasoning_content", reply.thinking)
            self.deltas("content", reply.text)
            while reply.endless:
                self.deltas("content", reply.text)
            if reply.hang:
                endpoint.stopping.wait(30)
            if reply.garbage:
                self.wfile.write(b"data: {no json\n\n")
            if reply.hang or reply.cut or reply.garbage:
                return
            for number, (name, arguments) in enumerate(reply.calls):
                index = 0 if reply.same_index else number
                given = reply.ids[number] if reply.ids else f"call_{len(endpoint.requests)}_{number}"
                arguments = arguments if isinstance(arguments, str) else json.dumps(arguments)
                head = {"index": index, "id": given, "type": "function", "function": {"name": name, "arguments": ""}}
                self.chunk({"tool_calls": [head]})
                for start in range(0, len(arguments), 9):
                    piece = {"arguments": arguments[start : start + 9]}
                    self.chunk({"tool_calls": [{"index": index, "function": piece}]})
            reason = reply.finish_reason or ("tool_calls" if reply.calls else "stop")
            self.chunk({}, reason, warnings=list(reply.warnings))
            if reply.usage:
                prompt, completion = reply.usage
                usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
                self.event({**HEAD, "choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")

        def deltas(self, key, text):
            for start in range(0, len(text), 7):
                self.chunk({key: text[start : start + 7]})

        def chunk(self, delta, finish_reason=None, warnings=None):
            choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
            self.event({**HEAD, "choices": [{**choice, "warnings": warnings} if warnings else choice]})

        def event(self, data):
            self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()

        def send_json(self, status, data):
            data = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": int(time.time()), "model": "scripted"}
