"""Calls of a registry from tests without an event loop."""

import asyncio
import json

from fulmen.chat.message import ToolCall


def call_of(name, arguments="{}", call_id="call_1"):
    """A call; arguments as text or as what to make JSON of."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id=call_id, name=name, arguments=text)


def answer(registry, name, arguments="{}"):
    """Make one call; returns its result."""
    return asyncio.run(registry.call(call_of(name, arguments)))
