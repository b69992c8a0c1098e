"""A reply that is cancelled while it streams ends as a cancellation, not as a fault of the endpoint."""

import asyncio
from types import SimpleNamespace

import pytest

from fulmen.agents.endpoint_model import EndpointModel


class EndsWhenCancelled:
    """A stream whose end is all that is seen of a cancellation between two chunks, as that of some connections."""

    def __init__(self):
        self.opened = asyncio.Event()

    async def create(self, **_):
        return self

    async def __aenter__(self):
        self.opened.set()
        return self

    async def __aexit__(self, *_):
        pass

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StopAsyncIteration from None


def test_a_stream_that_ends_by_a_cancellation_is_cancelled():
    async def cancel_a_reply():
        stream = EndsWhenCancelled()
        client = SimpleNamespace(chat=SimpleNamespace(completions=stream), base_url="http://127.0.0.1:9/v1")
        model = EndpointModel(client, "slow", keeps_thinking=False, options={})
        task = asyncio.create_task(model.reply([], [], max_tokens=9, watch=print))
        await stream.opened.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_a_reply())
