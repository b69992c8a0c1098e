"""A scripted endpoint, a few tools, and a way to run an agent with both."""

import asyncio

import pytest
import scripted_endpoint

from fulmen.agents.agent import Agent
from fulmen.agents.endpoint_model import EndpointModel
from fulmen.agents.loop import Run
from fulmen.agents.transcript import Transcript
from fulmen.tools.function import tool_from_function
from fulmen.tools.registry import ToolRegistry


class Tools:
    """A registry of three tools, and what they were called with."""

    def __init__(self):
        self.added, self.sent, self.clock = [], [], 0
        self.registry = ToolRegistry(timeout=5)
        for tool in (self.add, self.now):
            self.registry.add(tool_from_function(tool))
        self.registry.add(tool_from_function(self.send, dangerous=True))

    def add(self, a: int, b: int) -> int:
        """Add two numbers."""
        self.added.append((a, b))
        return a + b

    def now(self) -> str:
        """Tell the time, which goes on."""
        self.clock += 1
        return f"{self.clock} o'clock"

    def send(self, to: str) -> str:
        """Send a letter."""
        self.sent.append(to)
        return f"sent to {to}"


@pytest.fixture(scope="module")
def server():
    with scripted_endpoint.running() as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(server):
    server.say()
    server.models = (("scripted", "test"),)
    return server


@pytest.fixture
def tools():
    return Tools()


@pytest.fixture
def carry_out(endpoint, tools):
    """Run an agent to its end; returns the run and its last record."""

    def carry_out(task="Do it.", *, agent=None, registry=None, timeout=10.0, **options):
        async def work():
            model = await EndpointModel.connect(endpoint.address, timeout=timeout)
            try:
                run = Run.start(task, agent=agent or Agent(), model=model, tools=registry or tools.registry, **options)
                return run, await run.finish()
            finally:
                await model.close()

        return asyncio.run(work())

    return carry_out


@pytest.fixture
def go_on(endpoint, tools):
    """Resume a run from its file and carry it out; returns the run and its last record."""

    def go_on(path, *, agent=None, registry=None, **options):
        async def work():
            model = await EndpointModel.connect(endpoint.address, timeout=10.0)
            try:
                transcript, started, records = Transcript.reopen(path)
                with transcript:
                    run = Run.resume(
                        transcript,
                        started,
                        records,
                        agent=agent or Agent(),
                        model=model,
                        tools=registry or tools.registry,
                        **options,
                    )
                    return run, await run.finish()
            finally:
                await model.close()

        return asyncio.run(work())

    return go_on
