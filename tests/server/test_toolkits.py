"""Agents of openai-agents and pydantic-ai call tools, get the results and answer, through both APIs over HTTP."""

import asyncio
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field
from pydantic_ai import NativeOutput, ToolOutput
from serving import running
from toolkits import APIS, TOOLKITS, ask

THOUGHT = "<think>\nThe tool knows.\n</think>\n\n"
ANSWER = "It is 21 degrees in Paris."
AT_ONCE = {"temperature": 1.0, "max_tokens": 300, "extra_body": {"thinking_budget": 0}}
"""Settings for a model of noise: it would never end its thinking."""


def calls(*cities):
    lines = [f'{{"name": "temperature", "arguments": {{"city": "{city}"}}}}\n' for city in cities]
    return "<tool_calls>\n" + "".join(lines) + "</tool_calls>"


class Verdict(BaseModel):
    """An answer in a form."""

    warm: bool
    degrees: Literal[20, 21, 22]


@pytest.fixture
def prompts(served, tokenizer):
    """The texts of all prompts since the model was last told what to say."""
    return lambda: [tokenizer.decode(ids) for ids, _ in served.service.requests]


@pytest.fixture
def thermometer():
    """A tool, and the cities that it was asked for."""
    asked = []

    def temperature(city: str) -> str:
        """Temperature in a city, in degrees."""
        asked.append(city)
        return f"21 in {city}"

    return temperature, asked


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_an_agent_calls_a_tool_and_answers(address, say, prompts, thermometer, toolkit, api, stream):
    tool, asked = thermometer
    say(THOUGHT + calls("Paris"), ANSWER)
    assert asyncio.run(ask(toolkit, address=address, api=api, stream=stream, tools=[tool])) == ANSWER
    assert asked == ["Paris"]
    first, second = prompts()
    assert "Temperature in a city, in degrees." in first
    assert "How warm is it in Paris?" in first
    assert calls("Paris") in second
    assert "tool name: temperature\ntool result: 21 in Paris" in second


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_parallel_calls_come_back_together(address, say, prompts, thermometer, toolkit, api):
    tool, asked = thermometer
    say(calls("Paris", "Rome"), ANSWER)
    assert asyncio.run(ask(toolkit, address=address, api=api, stream=True, tools=[tool])) == ANSWER
    assert sorted(asked) == ["Paris", "Rome"]
    _, second = prompts()
    assert calls("Paris", "Rome") in second
    assert second.index("tool result: 21 in Paris") < second.index("tool result: 21 in Rome")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_an_agent_that_calls_often_keeps_its_history(address, say, prompts, thermometer, toolkit, api):
    tool, asked = thermometer
    say(calls("Paris"), "One more.\n" + calls("Rome"), calls("Oslo"), ANSWER)
    assert asyncio.run(ask(toolkit, address=address, api=api, tools=[tool])) == ANSWER
    assert asked == ["Paris", "Rome", "Oslo"]
    assert len(prompts()) == 4
    places = [prompts()[-1].index(f"tool result: 21 in {city}") for city in asked]
    assert places == sorted(places)
    assert "One more." in prompts()[-1]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("toolkit", "form"),
    [("openai-agents", Verdict), ("pydantic-ai", NativeOutput(Verdict)), ("pydantic-ai", ToolOutput(Verdict))],
)
def test_an_answer_in_a_form(address, say, served, toolkit, api, form):
    verdict = '{"warm": true, "degrees": 21}'
    call = f'<tool_calls>\n{{"name": "final_result", "arguments": {verdict}}}\n</tool_calls>'
    say(call if isinstance(form, ToolOutput) else verdict)
    answer = asyncio.run(ask(toolkit, address=address, api=api, output_type=form))
    assert answer == Verdict(warm=True, degrees=21)
    grammar = served.service.requests[-1][1].grammar.source
    assert '"degrees"' in grammar.replace("\\", "")


@pytest.mark.parametrize("api", APIS)
def test_thinking_comes_back_to_the_model_while_it_works(address, say, prompts, thermometer, api):
    tool, _ = thermometer
    say(THOUGHT + calls("Paris"), ANSWER)
    asyncio.run(ask("pydantic-ai", address=address, api=api, tools=[tool]))
    assert THOUGHT + calls("Paris") in prompts()[-1]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("api", APIS)
def test_calls_of_a_random_model_fit_their_tool(tiny_model, api, stream):
    """The real engine: the grammar makes calls of noise, the toolkit validates and makes them."""
    made = []

    def forecast(city: Literal["Paris", "Rome"], days: Annotated[int, Field(ge=1, le=9)]) -> str:
        """Weather of the next days."""
        made.append((city, days))
        return "sunny"

    settings = {**AT_ONCE, "parallel_tool_calls": False, "tool_choice": "required"}
    options = {"model": "tiny", "stream": stream, "tools": [forecast], "settings": settings, "stop_at_tool": True}
    with running(tiny_model) as address:
        assert asyncio.run(ask("openai-agents", address=address, api=api, **options)) == "sunny"
    ((city, days),) = made
    assert city in ("Paris", "Rome")
    assert 1 <= days <= 9


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("form", [NativeOutput(Verdict), ToolOutput(Verdict)], ids=["native", "tool"])
def test_a_random_model_answers_in_a_form(tiny_model, api, form):
    with running(tiny_model) as address:
        asked = ask("pydantic-ai", address=address, api=api, model="tiny", output_type=form, settings=AT_ONCE)
        assert isinstance(asyncio.run(asked), Verdict)
