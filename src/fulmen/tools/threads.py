"""Blocking functions beside the event loop, each in a thread of its own that nobody has to wait for."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Await a blocking function.

    A pool would be used up by functions that hang, and Python would wait for its threads at exit; so each call has a
    daemon thread, left alone when the caller is cancelled.

    Raises:
        RuntimeError: the function tried to end the process or the iteration of its caller.
        Exception: whatever else the function raised.
    """
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[Callable[[], T]] = loop.create_future()
    context = contextvars.copy_context()

    def work() -> None:
        outcome: Callable[[], T]
        try:
            value = context.run(function)
            outcome = lambda: value  # noqa: E731
        except BaseException as error:  # a thread's exception must reach the one who waits, whatever it is
            outcome = _raising(error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: finished.cancelled() or finished.set_result(outcome))

    threading.Thread(target=work, name=f"tool {getattr(function, '__name__', '')}", daemon=True).start()
    return (await finished)()


def _raising(error: BaseException) -> Callable[[], T]:
    def outcome() -> T:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            raise error
        raise RuntimeError(f"{type(error).__name__}: {error}") from error

    return outcome
