"""Agents: a model that works on a task with tools until there is an answer or a budget is spent.

`loop` runs, `decision` says what comes next, `state` is where a run stands, `records` are what it is made of, and
`transcript` keeps them. An agent (`agent`, `search_agent`, `api_agent`) says what its kind of work adds to the loop.
"""

from fulmen.agents.agent import Agent
from fulmen.agents.api_agent import ApiAgent
from fulmen.agents.confirm import Answer, Confirm, Question, allow_named, deny_all
from fulmen.agents.endpoint_model import EndpointModel
from fulmen.agents.loop import Run
from fulmen.agents.model import ContextFull, Model, ModelFailed
from fulmen.agents.records import Budget, Ended, Record, Source
from fulmen.agents.search_agent import SearchAgent, cited_sources
from fulmen.agents.transcript import Transcript, read_transcript

__all__ = [
    "Agent",
    "Answer",
    "ApiAgent",
    "Budget",
    "Confirm",
    "ContextFull",
    "EndpointModel",
    "Ended",
    "Model",
    "ModelFailed",
    "Question",
    "Record",
    "Run",
    "SearchAgent",
    "Source",
    "Transcript",
    "allow_named",
    "cited_sources",
    "deny_all",
    "read_transcript",
]
