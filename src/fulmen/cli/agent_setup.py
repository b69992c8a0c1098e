"""From the options of `fulmen agent` to a model, tools and an agent; kept in the transcript, so that a run can resume.

No secret is part of a setup: keys stay in the environment, and the transcript names their variables.
"""

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fulmen.cli.options import Quantize

if TYPE_CHECKING:
    from fulmen.agents import Agent, Model
    from fulmen.tools.content import CountTokens
    from fulmen.tools.registry import ToolRegistry
    from fulmen.tools.tool import Tool

_CACHE_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class AgentSetup:
    """What a run of `fulmen agent` works with.

    Example: `AgentSetup(agent="assistant", model="spark", tools=("calculator",))`.
    """

    agent: str
    """assistant, search or api."""
    system: str | None = None
    """Instead of the agent's own system message."""
    plan: bool = True
    """Whether the search agent plans first."""
    tools: tuple[str, ...] = ()
    """Words for `tools.builtin.tools_of_words`."""
    mcp: tuple[str, ...] = ()
    search_tool: tuple[str, ...] = ()
    openapi: str | None = None
    operation: tuple[str, ...] = ()
    """Of the API, those that become tools; all without it."""
    base_url: str | None = None
    auth: str | None = None
    """HEADER=VARIABLE."""
    model: str | None = None
    endpoint: str | None = None
    temperature: float | None = None
    seed: int | None = None
    think: int | None = None
    max_context: int | None = None
    quantize: Quantize = "auto"
    device: str | None = None
    threads: int | None = None

    @property
    def reaches_out(self) -> tuple[str, ...]:
        """What of it starts programs, talks to somebody or works with files, for a user who is to agree with it."""
        named = {
            "works with": tuple(word for word in self.tools if ":" in word),
            "starts or asks the MCP server": self.mcp,
            "sends requests of the API of": (self.openapi,),
            "at": (self.base_url,),
            "with the secret of": (self.auth,),
            "asks the model at": (self.endpoint,),
        }
        return tuple(f"{what} {value}" for what, values in named.items() for value in values if value)


def setup_from_options(options: Mapping[str, Any]) -> AgentSetup:
    """Return the setup that the options of the command line ask for, paths made absolute."""
    given = {field.name: options[field.name] for field in dataclasses.fields(AgentSetup)}
    openapi, model = given["openapi"], given["model"]
    if model is not None and given["endpoint"] is None and Path(model).expanduser().is_dir():
        given["model"] = str(Path(model).expanduser().resolve())
    given |= {
        "agent": given["agent"] or ("api" if openapi else "assistant"),
        "tools": tuple(map(_with_absolute_folder, given["tools"] or ())),
        "mcp": tuple(str(Path(text).resolve()) if _is_file_of_servers(text) else text for text in given["mcp"] or ()),
        "search_tool": tuple(given["search_tool"] or ()),
        "operation": tuple(given["operation"] or ()),
        "openapi": str(openapi.resolve()) if openapi else None,
    }
    return AgentSetup(**given)


def setup_from_json(data: Mapping[str, Any]) -> AgentSetup:
    """Return the setup that a transcript holds; ValueError if it holds none."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(AgentSetup).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"the transcript's setup can't be used: {place}: {first['msg']}") from None


def make_agent(setup: AgentSetup) -> "Agent":
    """Return the agent of a setup.

    Raises:
        ValueError: there is none of this name, or it lacks a tool to search with.
    """
    from fulmen.agents.kinds import agent_from_json

    options: dict[str, Any] = {"kind": setup.agent}
    if setup.system is not None:
        options["system"] = setup.system
    if setup.agent == "search":
        from fulmen.agents.passage_search import SEARCH_DOCUMENTS

        # Of a second folder it is `notes_search_documents`.
        local = [tool.name for tool in _builtin(setup) if tool.name.endswith(SEARCH_DOCUMENTS)]
        options |= {"search_tools": tuple(dict.fromkeys((*local, *setup.search_tool))), "plan": setup.plan}
        if not options["search_tools"]:
            raise ValueError(
                "the search agent needs something to search in: give --tools documents:FOLDER, or --mcp and the name "
                "of its search tool with --search-tool"
            )
    return agent_from_json(options)


@asynccontextmanager
async def working(setup: AgentSetup, *, api_key: str | None) -> "AsyncIterator[tuple[Model, ToolRegistry]]":
    """Load or reach the model, and connect the tools, for as long as the context lasts.

    Raises:
        ValueError: an option is wrong.
        OSError, RuntimeError: something can't be reached.
    """
    async with AsyncExitStack() as stack:
        if setup.endpoint is not None:
            from fulmen.agents import EndpointModel
            from fulmen.tools.content import estimate_tokens

            endpoint = await EndpointModel.connect(
                setup.endpoint, setup.model, api_key=api_key, temperature=setup.temperature, seed=setup.seed
            )
            stack.push_async_callback(endpoint.close)
            yield endpoint, await _registry(setup, stack, estimate_tokens)
        else:
            local, count_tokens = await asyncio.to_thread(_local_model, setup)
            yield local, await _registry(setup, stack, count_tokens)


def _local_model(setup: AgentSetup) -> "tuple[Model, CountTokens]":
    """A model in an engine of this process, and its count of tokens."""
    from fulmen.agents.policy_model import PolicyModel
    from fulmen.cli.options import DEFAULT_MODEL
    from fulmen.cli.running import load
    from fulmen.engine.engine import Engine, EngineOptions
    from fulmen.rollout.policy import EnginePolicy

    loaded = load(setup.model or DEFAULT_MODEL, quantize=setup.quantize, device=setup.device, threads=setup.threads)
    options = EngineOptions(max_running=1, max_context=setup.max_context, cache_bytes=_CACHE_BYTES)
    params = dataclasses.replace(
        loaded.sampling,
        temperature=loaded.sampling.temperature if setup.temperature is None else setup.temperature,
        seed=setup.seed,
    )
    policy = EnginePolicy(
        Engine(loaded.decoder, loaded.tokenizer, options=options),
        loaded.tokenizer,
        loaded.template,
        params=params,
        thinking_budget=loaded.thinking_budget if setup.think is None else setup.think,
    )
    return PolicyModel(policy, name=loaded.name), lambda text: len(loaded.tokenizer.encode(text))


async def _registry(setup: AgentSetup, stack: AsyncExitStack, count_tokens: "CountTokens") -> "ToolRegistry":
    from fulmen.tools.registry import ToolRegistry

    registry = ToolRegistry(count_tokens=count_tokens)
    for tool in _builtin(setup):
        registry.add(tool)
    for text in setup.mcp:
        from fulmen.tools.mcp_client import McpConnection
        from fulmen.tools.mcp_endpoint import endpoint_from_text, endpoints_from_file

        for endpoint in endpoints_from_file(Path(text)) if _is_file_of_servers(text) else (endpoint_from_text(text),):
            await (await stack.enter_async_context(McpConnection(endpoint))).attach(registry)
    if setup.openapi is not None:
        for tool in _api_tools(setup, setup.openapi, stack):
            try:
                registry.add(tool, source="api")
            except ValueError as error:
                print(f"fulmen: no tool is made of {tool.name}: {error}", file=sys.stderr)
    return registry


def _builtin(setup: AgentSetup) -> "tuple[Tool, ...]":
    """The search agent searches documents for passages that it can cite one by one."""
    from fulmen.agents.passage_search import SEARCH_DOCUMENTS, passage_search
    from fulmen.tools.builtin import builtin_tools, folder_names, tools_of_words
    from fulmen.tools.documents import DocumentIndex
    from fulmen.tools.file_root import FileRoot

    folders = folder_names(word for word in setup.tools if word.startswith("documents:"))

    def make(word: str) -> "tuple[Tool, ...]":
        tools = builtin_tools(word)
        if setup.agent != "search" or word not in folders:
            return tools
        folder = folders[word] if len(set(folders.values())) > 1 else ""
        search = passage_search(DocumentIndex(FileRoot(word.partition(":")[2])), folder=folder)
        return (search, *(tool for tool in tools if tool.name != SEARCH_DOCUMENTS))

    return tools_of_words(setup.tools, make)


def _api_tools(setup: AgentSetup, path: str, stack: AsyncExitStack) -> "tuple[Tool, ...]":
    from fulmen.agents.openapi import ApiClient, SecretHeader, api_tools, load_document

    header = None
    if setup.auth is not None:
        name, _, variable = setup.auth.partition("=")
        if not name or not variable:
            raise ValueError(f"--auth is {setup.auth!r}; give HEADER=VARIABLE, as in Authorization=PETS_TOKEN")
        header = SecretHeader.from_environment(name, variable)
    document = load_document(Path(path), base_url=setup.base_url)
    client = ApiClient({operation.base_url for operation in document.operations}, header=header)
    stack.push_async_callback(client.close)
    tools, skipped = api_tools(document, client, only=tuple(dict.fromkeys(setup.operation)))
    for text in skipped:
        print(f"fulmen: no tool is made of {text}", file=sys.stderr)
    return tools


def _is_file_of_servers(text: str) -> bool:
    """Whether a word of --mcp names a JSON file, and is no command that happens to end with one."""
    is_one_word = "=" not in text and not any(map(str.isspace, text))
    return text.endswith(".json") and (is_one_word or Path(text).is_file())


def _with_absolute_folder(word: str) -> str:
    name, colon, folder = word.partition(":")
    return f"{name}:{Path(folder).expanduser().resolve()}" if colon and folder else word
