"""What a request passes before it is read: the log and the count of running requests, the drain, the body's limit.

Plain ASGI, because Starlette's convenient middleware would hide from the endpoints that a client has gone.
"""

import logging
import time
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fulmen.server.errors import ApiError
from fulmen.server.generation import RequestRecord
from fulmen.server.metrics import ServerMetrics

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Gate:
    """Whether the server still takes work, and how much it has."""

    draining: bool = False
    engine_failed: bool = False
    """The engine's thread has died: only a restart helps."""
    num_running: int = 0
    """HTTP requests that have not been answered in full."""


class AccessLog:
    """Counts running requests, logs each when it ends, and gives it a record for what it used."""

    def __init__(self, app: ASGIApp, *, gate: Gate, metrics: ServerMetrics) -> None:
        """Watch `app`."""
        self._app = app
        self._gate = gate
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and write its line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the client gets when nothing else has been sent

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        record = RequestRecord()
        scope.setdefault("state", {})["record"] = record
        started = time.perf_counter()
        self._gate.num_running += 1
        try:
            await self._app(scope, receive, watch)
        finally:
            self._gate.num_running -= 1
            seconds = time.perf_counter() - started
            route = scope.get("route")  # absent when a limit answered, or nothing has this path
            self._metrics.answered(getattr(route, "path", "other"), status)
            tokens = f" prompt={record.prompt_tokens} cached={record.cached_tokens} reply={record.completion_tokens}"
            line = "%s %s %d%s %.3fs"
            logger.info(line, scope["method"], scope["path"], status, tokens if record.generated else "", seconds)


class RefuseWhenDraining:
    """Answers 503 to new work once the server has been asked to stop."""

    def __init__(self, app: ASGIApp, *, gate: Gate) -> None:
        """Guard `app`."""
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503 or go on; what only looks (GET) may still look."""
        if scope["type"] == "http" and scope["method"] == "POST" and self._gate.draining:
            error = ApiError(503, "the server is shutting down", code="draining", headers={"Retry-After": "5"})
            await error.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class BodyLimit:
    """Reads the body, up to a size; what is behind gets it in one piece."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        """Guard `app` against bodies of more than `max_bytes`."""
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 or go on with the body read."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        body = bytearray()
        too_large = length.isdecimal() and int(length[:20]) > self._max_bytes
        more = not too_large
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            too_large = len(body) > self._max_bytes
            more = message.get("more_body", False) and not too_large
        if too_large:
            error = ApiError(413, f"the body is larger than {self._max_bytes} bytes", code="body_too_large")
            await error.response()(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)
