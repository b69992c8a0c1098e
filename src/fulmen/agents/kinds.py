"""The agents there are, by the names that transcripts and the command line have for them."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fulmen.agents.agent import Agent
from fulmen.agents.api_agent import ApiAgent
from fulmen.agents.search_agent import SearchAgent

AGENTS: dict[str, type[Agent]] = {agent.kind: agent for agent in (Agent, SearchAgent, ApiAgent)}
"""Every agent that a transcript can name."""


def agent_from_json(data: Mapping[str, Any]) -> Agent:
    """Return the agent that `agent.agent_to_json` wrote down.

    Raises:
        ValueError: no agent is called so, or an option of it is wrong.
    """
    options = dict(data)
    kind = options.pop("kind", None)
    if kind not in AGENTS:
        raise ValueError(f"no agent is called {kind!r:.60}; there are: {', '.join(AGENTS)}")
    try:
        return TypeAdapter(AGENTS[kind]).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"agent.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
