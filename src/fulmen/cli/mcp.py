"""`fulmen mcp serve`: our tools and a model for other agents, as an MCP server."""

import asyncio
import sys
from contextlib import ExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fulmen.cli.options import (
    ApiKeyOption,
    DeviceOption,
    QuantizeOption,
    ThinkOption,
    ThreadsOption,
    ToolsOption,
    given_options,
)

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from fulmen.chat.message import Message
    from fulmen.cli.running import RunningModel
    from fulmen.tools.chat_tool import Ask

_REPLY_TOKENS = 1024
_OF_HTTP = ("host", "port", "api_keys")

mcp = typer.Typer(help="Tools for other agents, by the Model Context Protocol.", no_args_is_help=True)


@mcp.callback()
def _mcp() -> None:
    """Keep `serve` a command of its own, though it is the only one."""


@mcp.command()
def serve(
    context: typer.Context,
    tools: ToolsOption = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Offer this model as the tool chat.", metavar="MODEL")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Ask --model at this address (http://HOST:PORT/v1) instead of loading it.")
    ] = None,
    api_key: ApiKeyOption = None,
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP at /mcp instead of stdin and stdout.")] = False,
    host: Annotated[str, typer.Option(help="With --http: the address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --http: the port to listen on; 0 takes a free one.")
    ] = 8100,
    api_keys: Annotated[
        str, typer.Option(envvar="FULMEN_API_KEYS", help="With --http: accepted keys, separated by commas.")
    ] = "",
    think: ThinkOption = None,
    quantize: QuantizeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Offer tools to an agent that starts this command, or over HTTP to many.

    Example: fulmen mcp serve --tools calculator --tools documents:handbook --model spark
    """
    try:
        from fulmen.tools.builtin import tools_of_words
        from fulmen.tools.chat_tool import ask_endpoint, chat_tool
        from fulmen.tools.mcp_server import mcp_server, serve_stdio
        from fulmen.tools.registry import ToolRegistry
    except ImportError as error:
        raise RuntimeError(f"{error}: tools need pip install 'fulmen[agents]'") from error

    if not tools and model is None:
        raise ValueError("there is nothing to offer: give --tools or --model")
    if endpoint is not None and model is None:
        raise ValueError("--endpoint needs --model, the name of a model that is served there")
    if not http and (idle := [name for name in given_options(context) if name in _OF_HTTP]):
        option = idle[0].replace("_", "-")
        raise ValueError(f"--{option} needs --http; without it, tools are offered on stdin and stdout")
    registry = ToolRegistry()
    for tool in tools_of_words(tools or ()):
        registry.add(tool)
    with ExitStack() as stack:
        if model is not None and endpoint is not None:
            registry.add(chat_tool(ask_endpoint(endpoint, model, api_key=api_key), model))
        elif model is not None:
            from fulmen.cli.running import load, running

            loaded = load(model, quantize=quantize, device=device, threads=threads)
            run = stack.enter_context(running(loaded))
            registry.add(chat_tool(_ask_engine(run, think), run.name))
        server = mcp_server(registry, version=version("fulmen"))
        if http:
            _serve_http(server, registry.names, host=host, port=port, api_keys=api_keys)
        else:
            asyncio.run(serve_stdio(server))


def _serve_http(server: "Server[Any]", names: tuple[str, ...], *, host: str, port: int, api_keys: str) -> None:
    import uvicorn

    from fulmen.server.auth import ApiKeys
    from fulmen.server.run import listen

    keys = tuple(key.strip() for key in api_keys.split(",") if key.strip())
    app = ApiKeys(server.streamable_http_app(host=host), keys=keys)
    listener = listen(host, port)
    port = listener.getsockname()[1]  # the one that was free, if 0 was asked for
    print(f"Fulmen offers {', '.join(names)} at http://{host}:{port}/mcp", file=sys.stderr, flush=True)
    if not keys and host not in ("127.0.0.1", "localhost", "::1"):
        print(
            "  Everybody who reaches this address can call them: set FULMEN_API_KEYS to ask for a key.", file=sys.stderr
        )
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _ask_engine(run: "RunningModel", think: int | None) -> "Ask":
    """Ask a model in this process; each question is a conversation of its own."""
    from fulmen.cli.session import ChatSession

    async def ask(messages: "tuple[Message, ...]") -> str:
        session = ChatSession(
            run.service,
            run.tokenizer,
            run.template,
            params=run.params(temperature=None, top_p=None, max_tokens=None if run.template.thinks else _REPLY_TOKENS),
            messages=messages,
            thinking_budget=run.thinking_budget if think is None else think,
        )
        async for _ in session.reply():
            pass
        return session.messages[-1].content

    return ask
