"""Blocking functions beside the event loop, each in a thread of its own that nobody has to wait for."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Await a blocking function.

    A pool would be used up by functions that hang, and Python would wait for its threads at exit; so each call has a
    daemon thread, left alone when the caller is cancelled.

    Raises:
        RuntimeError: the function tried to end the process or an iteration.
        Exception: whatever else the function raised.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # from now on the caller's cancellation leaves it alone
    context = contextvars.copy_context()

    def work() -> None:
        try:
            value = context.run(function)
        except BaseException as error:  # whoever waits must learn of it, whatever it is
            ordinary = isinstance(error, Exception) and not isinstance(error, StopIteration)
            outcome.set_exception(error if ordinary else RuntimeError(f"{type(error).__name__}: {error}"))
        else:
            outcome.set_result(value)

    threading.Thread(target=work, name="tool", daemon=True).start()
    return await asyncio.wrap_future(outcome)
