"""The engine's thread: streams, cancellation by closing, limits, draining, and no hang when it dies."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tiny_engine import prompts_of

from fulmen.engine.request import ContextTooLong, QueueFull
from fulmen.engine.service import EngineFailed, Service, ServiceClosed
from fulmen.trace import Grammar, SamplingParams

LONG = SamplingParams(temperature=0.0, max_tokens=200, ignore_eos=True)


@pytest.fixture
def make_service(make_engine):
    services = []

    def make(**options) -> Service:
        services.append(Service(make_engine(**options)))
        return services[-1]

    yield make
    for service in services:
        service.close()


def wait_until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited 20 seconds in vain"
        time.sleep(0.005)


def idle(service: Service) -> bool:
    stats = service.stats()
    return not stats["num_requests_running"] and not stats["num_requests_waiting"]


async def collect(service: Service, prompt, params) -> list:
    return [event async for event in await service.submit(prompt, params)]


def test_many_streams_at_once_get_what_each_gets_alone(make_service, oracle) -> None:
    service, prompts = make_service(), prompts_of(*range(3, 35))
    params = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True)

    async def all_of_them() -> list:
        return await asyncio.gather(*(collect(service, prompt, params) for prompt in prompts))

    for prompt, events in zip(prompts, asyncio.run(all_of_them()), strict=True):
        assert tuple(e.token_id for e in events) == oracle("hybrid", prompt, 6)
        assert [e.index for e in events] == list(range(6))
        assert events[-1].finish_reason == "length"


def test_plain_python_streams_and_generates(make_service, oracle) -> None:
    service, (prompt,) = make_service(), prompts_of(9)
    params = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True, n=2)
    tokens = [event.token_id for event in service.stream(prompt, params) if event.choice == 1]
    assert tuple(tokens) == oracle("hybrid", prompt, 6)
    assert [c.token_ids for c in service.generate([prompt], params)[0]] == [oracle("hybrid", prompt, 6)] * 2


@pytest.mark.parametrize("taken", [0, 3])
def test_closing_a_stream_frees_its_pages(make_service, taken) -> None:
    service = make_service(prefix_store=False)
    everything = service.stats()["kv_pages"]

    async def leave_early() -> None:
        stream = await service.submit(prompts_of(30)[0], LONG)
        for _ in range(taken):
            await anext(stream)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    asyncio.run(leave_early())
    wait_until(lambda: idle(service) and service.stats()["kv_pages_free"] == everything)
    assert service.drain(5)


def test_a_forgotten_stream_is_cancelled(make_service) -> None:
    service = make_service()

    async def forget() -> None:
        stream = await service.submit(prompts_of(30)[0], LONG)
        await anext(stream)
        del stream

    asyncio.run(forget())
    wait_until(lambda: idle(service))
    iterator = service.stream(prompts_of(30)[0], LONG)
    next(iterator)
    iterator.close()
    wait_until(lambda: idle(service))
    assert list(iterator) == []


def test_a_plain_stream_that_nobody_began_is_cancelled(make_service) -> None:
    service = make_service()
    service.stream([1], LONG).close()
    service.stream([1], LONG)  # forgotten at once
    assert service.drain(20)
    assert service.stats()["engine_steps"] < 100


def test_generate_cancels_the_others_when_a_prompt_is_refused(make_service) -> None:
    service = make_service(max_running=1, max_queue=1)
    with pytest.raises(QueueFull):
        service.generate([[1], [2], [3]], LONG)
    assert service.drain(20)
    assert service.stats()["engine_steps"] < 100


def test_refusals_come_before_the_first_event(make_service) -> None:
    service = make_service(max_context=32, max_queue=1, max_running=1)

    async def refusals() -> None:
        with pytest.raises(ContextTooLong):
            await service.submit([1] * 50, LONG)
        streams = [await service.submit([1], LONG) for _ in range(2)]
        with pytest.raises(QueueFull):
            await service.submit([1], LONG)
        for stream in streams:
            await stream.aclose()

    asyncio.run(refusals())


def test_a_grammar_compiles_beside_the_event_loop(make_service, monkeypatch) -> None:
    service, compiling, go_on = make_service(), threading.Event(), threading.Event()
    compile_grammar = service._engine.compile

    def slowly(params):
        if params.grammar is not None:
            compiling.set()
            assert go_on.wait(20)
        return compile_grammar(params)

    monkeypatch.setattr(service._engine, "compile", slowly)
    constrained = SamplingParams(grammar=Grammar(kind="regex", source="[ab]{5}"), max_tokens=9)

    async def ask_meanwhile() -> None:
        kept, left = (asyncio.create_task(collect(service, [1], constrained)) for _ in range(2))
        assert await asyncio.to_thread(compiling.wait, 20)
        assert len(await collect(service, [1], SamplingParams(max_tokens=3, ignore_eos=True))) == 3
        left.cancel()
        go_on.set()
        assert len(await kept) == 5
        with pytest.raises(asyncio.CancelledError):
            await left

    asyncio.run(ask_meanwhile())
    assert service.drain(20)


def test_a_failing_step_reaches_every_caller_and_later_ones(make_service, monkeypatch) -> None:
    service = make_service()

    def explode(works) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(service._engine._runner, "run", explode)
    with pytest.raises(EngineFailed, match="out of memory"):
        list(service.stream([1, 2], LONG))
    with pytest.raises(EngineFailed):
        service.stream([1, 2], LONG)


def test_a_failing_step_reaches_those_who_came_while_it_ran(make_service, monkeypatch, tmp_path) -> None:
    service, in_step, go_on = make_service(), threading.Event(), threading.Event()

    def explode(works) -> None:
        in_step.set()
        assert go_on.wait(20)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(service._engine._runner, "run", explode)
    first = service.stream([1, 2], LONG)
    assert in_step.wait(20)
    second = service.stream([3], LONG)
    with ThreadPoolExecutor(2) as pool:
        loading = pool.submit(service.load_context, tmp_path / "c.safetensors")
        wait_until(lambda: service._inbox.qsize() == 2)
        go_on.set()
        for future in (loading, *(pool.submit(list, stream) for stream in (first, second))):
            with pytest.raises(EngineFailed, match="out of memory"):
                future.result(timeout=20)
    assert service.drain(0)


def test_a_request_that_breaks_the_engine_learns_of_it(make_service, monkeypatch) -> None:
    service = make_service()

    def explode(*args, **kwargs) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(service._engine, "add", explode)
    with pytest.raises(RuntimeError, match="a bug"):
        list(service.stream([1, 2], LONG))


def test_an_event_for_a_loop_that_just_closed_does_no_harm(make_service) -> None:
    service = make_service()

    async def leave() -> tuple:
        loop, stream = asyncio.get_running_loop(), await service.submit([1], LONG)
        loop.is_closed = lambda: False  # as seen by a thread that asks just before it closes
        await anext(stream)
        return loop, stream

    loop, _stream = asyncio.run(leave())
    wait_until(lambda: idle(service))
    del loop.is_closed
    assert len(list(service.stream([1], SamplingParams(max_tokens=2, ignore_eos=True)))) == 2


def test_draining_lets_the_open_ones_end_and_refuses_new_ones(make_service) -> None:
    service, events = make_service(), []
    reader = threading.Thread(target=lambda: events.extend(service.stream(prompts_of(5)[0], LONG)))
    reader.start()
    wait_until(lambda: events)
    assert service.drain(30)
    reader.join()
    assert len(events) == 200
    with pytest.raises(ServiceClosed):
        service.stream([1], LONG)


def test_contexts_pass_through_the_thread(make_service, tmp_path) -> None:
    service, (prompt,) = make_service(), prompts_of(20)
    service.save_context(tmp_path / "c.safetensors", prompt)
    assert make_service().load_context(tmp_path / "c.safetensors") == tuple(prompt)
    with pytest.raises(FileNotFoundError):
        service.load_context(tmp_path / "none.safetensors")


def test_an_idle_service_sleeps(make_service) -> None:
    service = make_service()
    list(service.stream([1], SamplingParams(max_tokens=2)))
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1
