"""The engine behind a thread: submit from anywhere, read token events as they come.

    callers (any thread, any event loop)            the engine's thread
    submit -> checks, compiles the grammar -> inbox -> add      \
    close  -------------------------------> inbox -> cancel      > step, step, step ...
    call   -------------------------------> inbox -> run it     /       |
    <------------- sink of the request <------------- events <----------+

Only the engine's thread touches the engine. It sleeps when there is nothing to do. When a step fails, every open
request is told so, in the inbox too, and the service refuses further ones: nothing ever waits for a dead engine.
"""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fulmen.engine.contexts import NO_NOTES
from fulmen.engine.engine import Engine, completion_of
from fulmen.engine.grammar import Constraint
from fulmen.engine.request import QueueFull
from fulmen.trace import Completion, SamplingParams, TokenEvent

Result = TypeVar("Result")
Sink = Callable[[TokenEvent | Exception], None]


class EngineFailed(RuntimeError):
    """The engine's thread has died; the cause is chained."""


class ServiceClosed(RuntimeError):
    """The service is draining or closed and takes no more requests."""


@dataclass(frozen=True, slots=True)
class _Task:
    """Something for the engine's thread to do, between steps."""

    run: Callable[[], None]
    fail: Callable[[Exception], None] = lambda error: None
    """Tells the caller that it will never be done."""


class Service:
    """One engine, many callers.

    Example::

        service = Service(engine)
        async for event in await service.submit(prompt_ids, SamplingParams(max_tokens=100)):
            ...
        service.close()
    """

    def __init__(self, engine: Engine) -> None:
        """Start the engine's thread."""
        self._engine = engine
        self._inbox: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._sinks: dict[int, tuple[Sink, int]] = {}  # of each request: where its events go, choices still open
        self._lock = threading.Lock()  # held where the fields below change, and while a task enters the inbox
        self._open = 0  # replies that have been asked for and have not ended, each of a request's n
        self._failure: Exception | None = None
        self._closing = False
        self._steps = 0
        self._thread = threading.Thread(target=self._run, name="fulmen-engine", daemon=True)
        self._thread.start()

    @property
    def max_context(self) -> int:
        """Tokens of one sequence, prompt and reply."""
        return self._engine.max_context

    @property
    def max_open(self) -> int:
        """Replies that may run or wait at once."""
        return self._engine.max_open

    async def submit(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[TokenEvent, None]:
        """Queue a request and return its events to iterate over; closing them cancels it and frees its pages.

        A grammar is compiled in another thread meanwhile, because it can take seconds.

        Raises:
            ValueError: the prompt or an option is wrong; ContextTooLong says both numbers.
            QueueFull: too many requests wait.
            EngineFailed, ServiceClosed: nothing runs any more.
        """
        self._check(prompt_ids, params)
        constraint = None if params.grammar is None else await asyncio.to_thread(self._engine.compile, params)
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[TokenEvent | Exception] = asyncio.Queue()

        def sink(event: TokenEvent | Exception) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits for the event
                loop.call_soon_threadsafe(events.put_nowait, event)

        return _EventStream(events, params.n, self._queue(prompt_ids, params, constraint, sink))

    def stream(self, prompt_ids: Sequence[int], params: SamplingParams) -> "EventIterator":
        """Like `submit`, for plain Python: closing the iterator cancels the request."""
        self._check(prompt_ids, params)
        constraint = self._engine.compile(params)
        events: queue.SimpleQueue[TokenEvent | Exception] = queue.SimpleQueue()
        return EventIterator(events, params.n, self._queue(prompt_ids, params, constraint, events.put))

    def generate(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Complete each prompt `params.n` times, side by side, and wait for all."""
        results = []
        with ExitStack() as stack:  # a refused or failing prompt ends the others
            streams = [stack.enter_context(closing(self.stream(prompt, params))) for prompt in prompts]
            for stream in streams:
                events = list(stream)
                choices = [[event for event in events if event.choice == choice] for choice in range(params.n)]
                results.append([completion_of(choice) for choice in choices])
        return results

    def save_context(self, path: Path, token_ids: Sequence[int], *, notes: Mapping[str, str] = NO_NOTES) -> None:
        """See `Engine.save_context`."""
        self._call(lambda: self._engine.save_context(path, token_ids, notes=notes))

    def load_context(self, path: Path) -> tuple[int, ...]:
        """See `Engine.load_context`."""
        return self._call(lambda: self._engine.load_context(path))

    def stats(self) -> dict[str, float]:
        """Gauges and totals of this moment, by name."""
        scheduler, memory = self._engine.scheduler, self._engine.memory
        return {
            "num_requests_running": len(scheduler.running),
            "num_requests_waiting": len(scheduler.waiting),
            "num_preemptions": scheduler.num_preemptions,
            "kv_pages": memory.pages.num_pages,
            "kv_pages_free": memory.pages.num_free,
            "state_slots": memory.slots.num_slots,
            "state_slots_free": memory.slots.num_free,
            "prefix_snapshots": len(memory.prefixes),
            "engine_steps": self._steps,
        }

    def drain(self, seconds: float) -> bool:
        """Take no more requests and wait for the open ones, so long at most; whether all have ended."""
        self._closing = True
        end = time.monotonic() + seconds
        while self._open and self._failure is None and time.monotonic() < end:
            time.sleep(0.01)
        return not self._open

    def close(self) -> None:
        """Cancel what still runs and end the thread."""
        self._closing = True
        self._inbox.put(None)
        self._thread.join()

    def _check(self, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        self._check_alive()
        self._engine.check(prompt_ids, params)

    def _queue(
        self, prompt_ids: Sequence[int], params: SamplingParams, constraint: Constraint | None, sink: Sink
    ) -> Callable[[], None]:
        """Hand a checked request to the engine's thread; returns what cancels it."""
        request: list[int] = []

        def add() -> None:
            try:
                request.append(self._engine.add(prompt_ids, params, constraint=constraint))
            except (ValueError, QueueFull) as error:
                self._forget(params.n)
                sink(error)
            else:
                self._sinks[request[0]] = (sink, params.n)

        with self._lock:
            self._check_alive()
            if self._open + params.n > self.max_open:
                raise QueueFull.at(self._open, self.max_open)
            self._open += params.n
            self._inbox.put(_Task(add, fail=sink))
        return lambda: self._inbox.put(_Task(lambda: self._engine.cancel(request[0]) if request else None))

    def _call(self, function: Callable[[], Result]) -> Result:
        """Run something in the engine's thread, between steps."""
        future: Future[Result] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:  # belongs to the caller, who raises it
                future.set_exception(error)

        with self._lock:
            self._check_alive()
            self._inbox.put(_Task(run, fail=future.set_exception))
        return future.result()

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise EngineFailed(f"the engine has failed: {self._failure}") from self._failure
        if self._closing:
            raise ServiceClosed("the server is shutting down and takes no more requests")

    def _forget(self, num_replies: int) -> None:
        with self._lock:
            self._open -= num_replies

    def _run(self) -> None:
        """The engine's thread."""
        cause = None
        try:
            while self._handle_inbox():
                self._deliver(self._engine.step())
                self._steps += 1
        except Exception as error:  # the thread ends here; callers must learn of it
            cause = error
        self._end(cause)

    def _end(self, cause: Exception | None) -> None:
        """Tell every caller, those in the inbox too, that nothing runs any more."""
        failure = EngineFailed(f"the engine has failed: {cause}" if cause else "the engine was closed")
        failure.__cause__ = cause
        with self._lock:  # whoever comes later is refused by `_check_alive`
            self._failure, self._closing, self._open = cause, True, 0
            left = [self._inbox.get() for _ in range(self._inbox.qsize())]
        for sink, _ in self._sinks.values():
            sink(failure)
        self._sinks.clear()
        for task in left:
            if task is not None:
                task.fail(failure)

    def _handle_inbox(self) -> bool:
        """Do what callers asked for, waiting if there is nothing else to do; False: the end."""
        while not self._inbox.empty() or not self._engine.has_work:
            task = self._inbox.get()
            if task is None:
                return False
            try:
                task.run()
            except Exception as error:
                task.fail(error)
                raise
        return True

    def _deliver(self, events: list[tuple[int, TokenEvent]]) -> None:
        for request, event in events:
            if request not in self._sinks:
                continue  # of a context that is being saved
            sink, choices = self._sinks[request]
            if event.finish_reason is not None:
                self._forget(1)  # before the caller hears of the end, who may ask for the next reply at once
                if choices == 1:
                    del self._sinks[request]
                else:
                    self._sinks[request] = (sink, choices - 1)
            sink(event)


class _EventStream(AsyncGenerator[TokenEvent, None]):
    """The events of one request. Unlike a generator function's, its `aclose` works before the first event too."""

    def __init__(
        self, events: "asyncio.Queue[TokenEvent | Exception]", choices: int, cancel: Callable[[], None]
    ) -> None:
        self._events, self._choices, self._cancel = events, choices, cancel

    async def asend(self, value: None) -> TokenEvent:
        """The next event."""
        if not self._choices:
            raise StopAsyncIteration
        event = await self._events.get()
        if isinstance(event, Exception):
            self._choices = 0
            raise event
        self._choices -= event.finish_reason is not None
        return event

    async def athrow(self, typ: object, val: object = None, tb: object = None) -> TokenEvent:
        """End the request; `aclose` comes through here."""
        self._stop()
        raise typ if isinstance(typ, BaseException) else GeneratorExit

    def __del__(self) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._choices:
            self._choices = 0
            self._cancel()


class EventIterator(Iterator[TokenEvent]):
    """The events of one request, for plain Python; closing or forgetting it cancels the request, started or not."""

    def __init__(
        self, events: "queue.SimpleQueue[TokenEvent | Exception]", choices: int, cancel: Callable[[], None]
    ) -> None:
        self._events, self._choices, self._cancel = events, choices, cancel

    def __next__(self) -> TokenEvent:
        if not self._choices:
            raise StopIteration
        event = self._events.get()
        if isinstance(event, Exception):
            self._choices = 0
            raise event
        self._choices -= event.finish_reason is not None
        return event

    def close(self) -> None:
        """End the request."""
        if self._choices:
            self._choices = 0
            self._cancel()

    def __del__(self) -> None:
        self.close()
