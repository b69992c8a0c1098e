"""An agent against the real server: spark behind `fulmen serve`, the calculator in the loop, HTTP between them."""

import asyncio

import pytest
from serving import running as serving

from fulmen.agents import Agent, EndpointModel, Run
from fulmen.agents.records import Returned
from fulmen.chat.parser import TextDelta
from fulmen.cli.running import load, running
from fulmen.server.served_model import ServedModel
from fulmen.tools.calculator import calculator
from fulmen.tools.registry import ToolRegistry


@pytest.fixture(scope="module")
def address():
    with running(load("spark")) as run:
        served = ServedModel(
            name=run.name,
            service=run.service,
            tokenizer=run.tokenizer,
            template=run.template,
            max_context=run.service.max_context,
        )
        with serving(served) as address:
            yield f"{address}/v1"


def test_spark_calls_the_calculator_and_answers_from_its_result(address):
    events = []

    async def work():
        model = await EndpointModel.connect(address, temperature=0.0)
        try:
            tools = ToolRegistry([calculator()])
            run = Run.start("What is 17 * 23?", agent=Agent(), model=model, tools=tools, watch=events.append)
            return run, await run.finish()
        finally:
            await model.close()

    run, ended = asyncio.run(work())
    assert (ended.outcome, ended.answer) == ("answered", "The result is 391.")
    assert run.state.started.model == "spark"
    assert [event.content for event in events if isinstance(event, Returned)] == ['{"result": 391}']
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == ended.answer
    assert run.state.prompt_tokens > 0
