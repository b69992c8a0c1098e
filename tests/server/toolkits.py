"""Agents of openai-agents and of pydantic-ai, each through both APIs, streamed and not, behind one function.

`ask(toolkit, api, ...)` runs an agent until it has answered, as an application would, and returns the answer.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import agents
import pydantic_ai
from agents.mcp import MCPServer
from openai import AsyncOpenAI
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.toolsets import AbstractToolset

TOOLKITS = ("openai-agents", "pydantic-ai")
APIS = ("chat", "responses")
INSTRUCTIONS = "Use the tools."


@dataclass(kw_only=True)
class Ask:
    """What an agent is asked, and how."""

    address: str
    api: str
    question: str = "How warm is it in Paris?"
    model: str = "scripted"
    stream: bool = False
    tools: Sequence[Callable[..., Any]] = ()
    mcp: MCPServer | AbstractToolset | None = None
    """A server of tools, in the toolkit's own wrapper."""
    output_type: Any = str
    stop_at_tool: bool = False
    """The result of the first tool is the answer (openai-agents only)."""
    settings: dict[str, Any] | None = None


async def ask(toolkit: str, **options: Any) -> Any:
    """Return the answer of an agent of `toolkit`; the options are the fields of `Ask`."""
    asked = Ask(**options)
    async with AsyncOpenAI(base_url=f"{asked.address}/v1", api_key="none", max_retries=0, timeout=60) as client:
        return await {"openai-agents": _ask_openai_agents, "pydantic-ai": _ask_pydantic_ai}[toolkit](asked, client)


async def _ask_openai_agents(asked: Ask, client: AsyncOpenAI) -> Any:
    kind = {"chat": agents.OpenAIChatCompletionsModel, "responses": agents.OpenAIResponsesModel}[asked.api]
    config = agents.RunConfig(tracing_disabled=True)
    async with AsyncExitStack() as stack:
        agent = agents.Agent(
            name="assistant",
            instructions=INSTRUCTIONS,
            model=kind(asked.model, client),
            model_settings=agents.ModelSettings(**(asked.settings or {})),
            tools=[agents.function_tool(tool) for tool in asked.tools],
            mcp_servers=[await stack.enter_async_context(asked.mcp)] if asked.mcp else [],
            output_type=None if asked.output_type is str else asked.output_type,
            tool_use_behavior="stop_on_first_tool" if asked.stop_at_tool else "run_llm_again",
        )
        if not asked.stream:
            return (await agents.Runner.run(agent, asked.question, run_config=config)).final_output
        run = agents.Runner.run_streamed(agent, asked.question, run_config=config)
        pieces = [
            event.data.delta
            async for event in run.stream_events()
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
        ]
        if not asked.stop_at_tool:
            assert "".join(pieces).endswith(run.final_output)
            assert len(pieces) > 1
        return run.final_output


async def _ask_pydantic_ai(asked: Ask, client: AsyncOpenAI) -> Any:
    kind = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}[asked.api]
    agent = pydantic_ai.Agent(
        kind(asked.model, provider=OpenAIProvider(openai_client=client)),
        instructions=INSTRUCTIONS,
        model_settings=asked.settings,
        tools=asked.tools,
        toolsets=[asked.mcp] if asked.mcp else [],
        output_type=asked.output_type,
    )
    async with agent:
        if not asked.stream:
            return (await agent.run(asked.question)).output
        async with agent.run_stream(asked.question) as run:
            pieces = [piece async for piece in run.stream_text(delta=True, debounce_by=None)]
            answer = await run.get_output()
        assert "".join(pieces) == answer
        assert len(pieces) > 1
        return answer
