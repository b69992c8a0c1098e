"""The options of `fulmen agent` that no other command has."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

TaskArgument = Annotated[str | None, typer.Argument(help="What is to be done.")]
McpOption = Annotated[
    list[str] | None,
    typer.Option(help="An MCP server: NAME=COMMAND, NAME=URL, or a JSON file of servers; may be given often."),
]
YesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--yes", help="A dangerous tool that may be called without asking; may be given often.", metavar="TOOL"
    ),
]
AgentOption = Annotated[
    str | None, typer.Option(help="assistant, search or api. Default: assistant; api if there is --openapi.")
]
SearchToolOption = Annotated[
    list[str] | None,
    typer.Option(help="For --agent search: the tool of an MCP server that searches; may be given often."),
]
PlanOption = Annotated[bool, typer.Option(help="For --agent search: begin with a plan.")]
OpenapiOption = Annotated[
    Path | None, typer.Option(help="An OpenAPI document, in JSON or YAML, whose operations become tools.")
]
OperationOption = Annotated[
    list[str] | None,
    typer.Option(help="An operation of the API, by its operationId; may be given often. Default: all.", metavar="ID"),
]
BaseUrlOption = Annotated[str | None, typer.Option(help="Where the API is, instead of what its document says.")]
AuthOption = Annotated[
    str | None,
    typer.Option(help="A header for the API, whose value is in an environment variable.", metavar="HEADER=VARIABLE"),
]
AgentModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A name or a folder; with --endpoint the name there, if there are several."),
]
EndpointOption = Annotated[
    str | None, typer.Option(help="Ask the model behind this address instead of loading one.", metavar="URL")
]
AgentSystemOption = Annotated[str | None, typer.Option(help="A system message instead of the agent's; '' for none.")]
MaxStepsOption = Annotated[int, typer.Option(min=1, help="Most replies of the model.")]
MaxWrittenOption = Annotated[int, typer.Option(min=1, help="Most tokens that the model may write in all.")]
ReplyTokensOption = Annotated[int | None, typer.Option(min=1, help="Most tokens of one reply.")]
TranscriptOption = Annotated[
    Path | None, typer.Option(help="Keep the run in this file. Default: a new one in Fulmen's folder.")
]
ResumeOption = Annotated[
    Path | None, typer.Option(help="Go on with the run of this transcript; tools and model are those it had.")
]
ReplayOption = Annotated[
    Path | None, typer.Option(help="Show the run of this transcript again; no model and no tool is called.")
]

_OF_A_LOCAL_MODEL = ("think", "max_context", "quantize", "device", "threads")
_OF_AN_API = ("operation", "base_url", "auth")
_OF_A_SEARCH = ("search_tool", "plan")
_OF_A_NEW_RUN = (
    "agent", "search_tool", "plan", "operation", "model", "system", "max_steps", "max_tokens", "reply_tokens",
    "transcript", "temperature", "seed", *_OF_A_LOCAL_MODEL,
)  # fmt: skip


def without_effect(given: Collection[str], agent: str) -> tuple[str, ...]:
    """Name the options on the command line that change nothing, each with the reason.

    Example: `without_effect({"task", "endpoint", "threads"}, "assistant")` is
    `("--threads has no effect with --endpoint",)`.
    """
    if "replay" in given:
        rules = [("with --replay", tuple(name for name in given if name != "replay"))]
    elif "resume" in given:
        rules = [("with --resume: the run goes on as it began", _OF_A_NEW_RUN)]
    else:
        rules = [("with --endpoint", _OF_A_LOCAL_MODEL)] if "endpoint" in given else []
        rules += [("without --openapi", _OF_AN_API)] if "openapi" not in given else []
        rules += [("without --agent search", _OF_A_SEARCH)] if agent != "search" else []
    return tuple(
        f"--{name.replace('_', '-')} has no effect {reason}"
        for reason, names in rules
        for name in names
        if name in given
    )
