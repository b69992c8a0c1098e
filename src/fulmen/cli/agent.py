"""`fulmen agent`: a model that carries out a task with tools. What was killed is resumed, what was run is replayed."""

import sys

import typer

from fulmen.cli.agent_options import (
    AgentModelOption,
    AgentOption,
    AgentSystemOption,
    AuthOption,
    BaseUrlOption,
    EndpointOption,
    MaxStepsOption,
    MaxWrittenOption,
    McpOption,
    OpenapiOption,
    OperationOption,
    PlanOption,
    ReplayOption,
    ReplyTokensOption,
    ResumeOption,
    SearchToolOption,
    TaskArgument,
    TranscriptOption,
    YesOption,
    without_effect,
)
from fulmen.cli.options import (
    ApiKeyOption,
    DeviceOption,
    MaxContextOption,
    QuantizeOption,
    SeedOption,
    TemperatureOption,
    ThinkOption,
    ThreadsOption,
    ToolsOption,
    given_options,
)


def agent(
    context: typer.Context,
    task: TaskArgument = None,
    tools: ToolsOption = None,
    mcp: McpOption = None,
    yes: YesOption = None,
    model: AgentModelOption = None,
    endpoint: EndpointOption = None,
    api_key: ApiKeyOption = None,
    agent: AgentOption = None,
    search_tool: SearchToolOption = None,
    plan: PlanOption = True,
    openapi: OpenapiOption = None,
    operation: OperationOption = None,
    base_url: BaseUrlOption = None,
    auth: AuthOption = None,
    system: AgentSystemOption = None,
    max_steps: MaxStepsOption = 30,
    max_tokens: MaxWrittenOption = 100_000,
    reply_tokens: ReplyTokensOption = None,
    transcript: TranscriptOption = None,
    resume: ResumeOption = None,
    replay: ReplayOption = None,
    think: ThinkOption = None,
    temperature: TemperatureOption = None,
    seed: SeedOption = None,
    max_context: MaxContextOption = None,
    quantize: QuantizeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Let a model carry out a task with tools, and ask before each call that is dangerous.

    fulmen agent "What is 17 * 23?" --tools calculator

    fulmen agent "How is the server started?" --agent search --tools documents:docs --endpoint http://127.0.0.1:8000/v1

    fulmen agent "Add a pet called Rex" --openapi pets.json --endpoint http://127.0.0.1:8000/v1
    """
    try:
        from fulmen.agents import Budget
        from fulmen.cli.agent_run import replay_run, resume_run, start_run
    except ImportError as error:
        raise RuntimeError(f"agents need more packages ({error}): pip install 'fulmen[agents]'") from error
    from fulmen.cli.agent_setup import setup_from_options

    if sum(choice is not None for choice in (task, resume, replay)) != 1:
        raise ValueError("give a task, --resume FILE or --replay FILE, and one of them only")
    setup = setup_from_options(context.params)
    for warning in without_effect(given_options(context), setup.agent):
        print(f"fulmen: {warning}", file=sys.stderr)
    if replay is not None:
        replay_run(replay)
    elif resume is not None:
        resume_run(resume, setup, allowed=yes or (), api_key=api_key)
    elif task is not None:
        budget = Budget(steps=max_steps, tokens=max_tokens, reply_tokens=reply_tokens)
        start_run(task, setup, budget=budget, allowed=yes or (), api_key=api_key, path=transcript)
