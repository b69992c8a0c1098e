"""The robot that works with an API, through the tools that `openapi` makes of the API's document."""

from dataclasses import dataclass
from typing import ClassVar

from fulmen.agents.agent import DATA_RULE, Agent


@dataclass(frozen=True, kw_only=True)
class ApiAgent(Agent):
    """Carries out tasks with the operations of an API.

    Example: `ApiAgent()`; its tools are those of `openapi.api_tools(document, client)`.
    """

    kind: ClassVar[str] = "api"
    system: str = (
        "You carry out tasks with the operations of an API, which are your tools. Take ids and names from what the "
        "API returns and never make them up: look them up first. Read the message of a call that failed, and correct "
        f"the call. {DATA_RULE} When the task is done, say in a few words what came out and what was changed."
    )
