"""Server-sent events, and noticing that a client has gone.

Starlette's streaming response learns of a lost client only where its server tells it so in one of two ways; ours
listens itself, for streams and for plain replies alike, and closes the generator, so that the engine stops working.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from fulmen.server.errors import ApiError, error_body

logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
CLIENT_GONE = 499
"""Status in the log for a client that left before its answer; never seen by anybody else."""
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

T = TypeVar("T")


def sse(data: Mapping[str, Any], event: str | None = None) -> bytes:
    """Return one server-sent event with `data` as JSON on one line."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def error_frame(message: str) -> bytes:
    """Return the event that tells a client of a failure after the stream has begun; OpenAI's clients raise it."""
    return sse(error_body(500, message))


class EventStream(Response):
    """A response whose body is the frames of a generator, which is closed when the client leaves."""

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        *,
        close: Callable[[], Awaitable[None]],
        ping_seconds: float,
        on_failure: Callable[[str], bytes] = error_frame,
    ) -> None:
        """Stream `frames`.

        Args:
            frames: the events, ready for the wire.
            close: called when the stream ends, however it does; closing `frames` is not enough, because a generator
                that has not begun can't clean up.
            ping_seconds: a comment is sent so often.
            on_failure: makes the last frame from a message when `frames` fails.
        """
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._frames = frames
        self._close = close
        self._ping_seconds = ping_seconds
        self._on_failure = on_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames until they end or the client leaves."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # The frame and the ping never overlap: both are whole when they are sent.
        tasks = [
            asyncio.create_task(self._write(send)),
            asyncio.create_task(_ping(send, self._ping_seconds)),
            asyncio.create_task(_disconnected(receive)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(tasks)
            await self._frames.aclose()
            await self._close()
        for task in done:
            task.result()

    async def _write(self, send: Send) -> None:
        try:
            async for frame in self._frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        except Exception as error:  # the status has been sent: the stream must say it
            if isinstance(error, ApiError):
                message = error.detail
            else:
                logger.error("a stream failed", exc_info=error)
                message = "the server failed while it generated; its log says how"
            frame = self._on_failure(message)
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_disconnected(
    request: Request, work: Coroutine[Any, Any, Response], *, close: Callable[[], Awaitable[None]]
) -> Response:
    """Await `work` and `close` what it used. It is cancelled when the client leaves; nobody reads the answer then."""
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(work), asyncio.create_task(_disconnected(request.receive))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel(tasks)
        await close()
    return tasks[0].result() if tasks[0] in done else Response(status_code=CLIENT_GONE)


async def _ping(send: Send, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
