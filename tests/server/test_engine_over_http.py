"""The whole way: OpenAI's client over HTTP to a tiny random hybrid model in the real engine."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import httpx
import openai
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel
from serving import TINY_CONTEXT, running

from fulmen.engine.engine import Engine, EngineOptions
from fulmen.engine.service import Service
from fulmen.server.served_model import ServedModel

QUESTION = [{"role": "user", "content": "Hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"enum": ["Paris", "Rome"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "additionalProperties": False}},
}


class Answer(BaseModel):
    """A schema whose every answer is short, so that random sampling ends it."""

    verdict: Literal["yes", "no"]
    score: Literal[1, 2, 3]


@pytest.fixture(scope="module")
def address(tiny_model):
    with running(tiny_model) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def gauges(address):
    families = text_string_to_metric_families(httpx.get(f"{address}/metrics").text)
    return {sample.name.removeprefix("fulmen:"): sample.value for family in families for sample in family.samples}


def idle(address):
    """Wait until nothing runs, and return the gauges."""
    end = time.monotonic() + 20
    while (now := gauges(address))["num_requests_running"] or now["num_requests_waiting"]:
        assert time.monotonic() < end, now
        time.sleep(0.01)
    return now


def test_greedy_stream_equals_the_plain_reply(client):
    plain = client.chat.completions.create(model="tiny", messages=QUESTION, reasoning_effort="none")
    chunks = client.chat.completions.create(model="tiny", messages=QUESTION, reasoning_effort="none", stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == plain.choices[0].message.content
    assert plain.choices[0].finish_reason == "length"
    assert plain.usage.completion_tokens == 48


def test_second_turn_finds_the_first_in_the_prefix_store(client):
    question = {"role": "user", "content": "A" * 200}
    first = client.chat.completions.create(model="tiny", messages=[question])
    messages = [question, first.choices[0].message.model_dump(exclude_none=True), {"role": "user", "content": "B"}]
    second = client.chat.completions.create(model="tiny", messages=messages)
    assert second.usage.prompt_tokens_details.cached_tokens > 200


def test_seed_repeats_and_n_differs(client):
    ask = {"model": "tiny", "messages": QUESTION, "temperature": 1.0, "seed": 5, "n": 2}
    one, two = (client.chat.completions.create(**ask) for _ in range(2))
    texts = [[choice.message.content for choice in reply.choices] for reply in (one, two)]
    assert texts[0] == texts[1]
    assert texts[0][0] != texts[0][1]


def test_stop_string(client):
    whole = client.completions.create(model="tiny", prompt="Once", max_tokens=40).choices[0].text
    stop = whole[20:23]
    cut = client.completions.create(model="tiny", prompt="Once", max_tokens=40, stop=stop).choices[0]
    assert (cut.text, cut.finish_reason) == (whole[: whole.index(stop)], "stop")


def test_logprobs_are_those_of_the_model(client, tiny_model):
    ask = {"model": "tiny", "prompt": "Once", "max_tokens": 12, "logprobs": 2, "seed": 1}
    shaped = {"temperature": 2, "presence_penalty": 1, "extra_body": {"top_k": 3}}
    decoder, tokenizer = tiny_model.service._engine.model, tiny_model.tokenizer
    likeliest = 0
    for options in ({}, shaped):
        reply = client.completions.create(**ask, **options).choices[0].logprobs
        ids = tokenizer.encode("Once")
        for token, logprob, top in zip(reply.tokens, reply.token_logprobs, reply.top_logprobs, strict=True):
            expected = decoder.logits(torch.tensor(ids))[-1].log_softmax(-1)
            ids += tokenizer.encode(token, allow_special=True)
            assert logprob == pytest.approx(float(expected[ids[-1]]), abs=1e-3)
            assert max(top.values()) == pytest.approx(float(expected.max()), abs=1e-3)
            likeliest += logprob == max(top.values())
        assert all(len(top) <= 2 for top in reply.top_logprobs)
    assert 12 <= likeliest < 24  # the first reply is greedy, the second is not


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stream", [False, True])
def test_forced_tool_call_fits_its_schema(client, seed, stream):
    ask = {
        "model": "tiny", "messages": QUESTION, "tools": [WEATHER, CLOCK], "seed": seed, "temperature": 1.0,
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}}, "max_tokens": 400,
        "reasoning_effort": "none",
    }  # fmt: skip
    if stream:
        with client.chat.completions.stream(**ask) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**ask).choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "get_weather"
    assert arguments["city"] in ("Paris", "Rome")
    assert 1 <= arguments["days"] <= 9
    assert set(arguments) == {"city", "days"}


def test_required_tool_call_in_responses(client):
    tools = [{"type": "function", **WEATHER["function"]}, {"type": "function", **CLOCK["function"]}]
    ask = {
        "model": "tiny", "input": "Hi", "tools": tools, "tool_choice": "required", "parallel_tool_calls": False,
        "reasoning": {"effort": "none"}, "max_output_tokens": 400, "temperature": 1.0,
    }  # fmt: skip
    first = client.responses.create(**ask)
    (call,) = first.output
    assert call.name in ("get_weather", "get_time")
    json.loads(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    ask |= {"input": [result], "tool_choice": "none", "max_output_tokens": 20}
    second = client.responses.create(**ask, previous_response_id=first.id)
    assert [item.type for item in second.output] == ["message"]


def test_strict_schema(client):
    ask = {"model": "tiny", "messages": QUESTION, "reasoning_effort": "none", "temperature": 1.0, "max_tokens": 400}
    for seed in range(3):
        reply = client.chat.completions.parse(**ask, response_format=Answer, seed=seed)
        assert reply.choices[0].message.parsed.verdict in ("yes", "no")
        assert reply.choices[0].finish_reason == "stop"
    response = client.responses.parse(
        model="tiny", input="Hi", text_format=Answer, reasoning={"effort": "none"}, temperature=1.0
    )
    assert response.output_parsed.score in (1, 2, 3)


def test_json_object(client):
    reply = client.chat.completions.create(
        model="tiny", messages=QUESTION, response_format={"type": "json_object"}, reasoning_effort="none"
    )
    assert reply.choices[0].message.content.startswith("{")


@pytest.mark.parametrize(
    "schema", [{"not": {"type": "string"}}, {"type": "string", "pattern": "(unclosed"}, {"$ref": "#/missing"}]
)
def test_schema_that_can_not_be_enforced_is_an_error_of_the_client(client, schema):
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="tiny", messages=QUESTION, response_format=form)


def test_the_server_answers_others_while_it_compiles_a_schema(client, address, tiny_model, monkeypatch):
    engine, compiling, go_on = tiny_model.service._engine, threading.Event(), threading.Event()
    compile_grammar = engine.compile

    def slowly(params):
        compiling.set()
        assert go_on.wait(20)
        return compile_grammar(params)

    monkeypatch.setattr(engine, "compile", slowly)
    ask = {"model": "tiny", "messages": QUESTION, "reasoning_effort": "none", "temperature": 1.0, "max_tokens": 400}
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(client.chat.completions.parse, **ask, response_format=Answer)
        assert compiling.wait(20)
        try:
            assert httpx.get(f"{address}/health").status_code == 200
        finally:
            go_on.set()
        assert reply.result().choices[0].message.parsed.verdict in ("yes", "no")


def test_thinking_budget_closes_the_thinking(client, tokenizer):
    # The bias makes the model open the thinking and never close it, so that the budget must.
    bias = {str(*tokenizer.encode(letter)): 50 for letter in "<h"}
    reply = client.chat.completions.create(
        model="tiny", messages=QUESTION, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False,
        logit_bias=bias, max_tokens=900, extra_body={"thinking_budget": 10},
    )  # fmt: skip
    assert reply.choices[0].finish_reason == "tool_calls"
    assert 10 <= reply.usage.completion_tokens_details.reasoning_tokens <= 40


def test_context_limit_names_both_numbers(client):
    with pytest.raises(openai.BadRequestError, match=r"4,\d{3}.*3,000") as error:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x" * 4000}])
    assert error.value.code == "context_length_exceeded"


def test_reply_ends_where_the_context_does(client):
    reply = client.completions.create(model="tiny", prompt=[7] * (TINY_CONTEXT - 5), max_tokens=100)
    assert (reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("length", 5)


def test_32_streams_say_what_each_says_alone(client, address):
    def ask(index):
        messages = [{"role": "user", "content": "x" * (7 * index) + str(index)}]
        chunks = client.chat.completions.create(
            model="tiny", messages=messages, stream=True, max_tokens=24, reasoning_effort="none"
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    alone = [ask(index) for index in range(0, 32, 4)]
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(ask, range(32)))
    assert together[::4] == alone
    assert all(together)
    assert idle(address)["num_requests_running"] == 0


def test_killed_client_frees_its_pages(client, address):
    ask = {"model": "tiny", "prompt": [9] * 500, "max_tokens": 2400, "stream": True, "extra_body": {"ignore_eos": True}}
    free = idle(address)
    for _ in range(3):
        stream = client.completions.create(**ask)
        next(iter(stream))
        assert gauges(address)["num_requests_running"] == 1
        stream.close()
        now = idle(address)
    # What is kept is the prompt in the prefix store, once; not the replies.
    kept = free["kv_pages_free"] - now["kv_pages_free"]
    assert kept * 16 <= 600
    assert now["state_slots"] - now["state_slots_free"] <= free["state_slots"] - free["state_slots_free"] + 3


def test_full_queue_is_429(tokenizer, template, tiny_model):
    options = EngineOptions(max_running=1, max_queue=1, cache_bytes=64 << 20, page_size=16)
    service = Service(Engine(tiny_model.service._engine.model, tokenizer, options=options))
    small = ServedModel(name="tiny", service=service, tokenizer=tokenizer, template=template, max_context=TINY_CONTEXT)
    statuses = []

    def ask(address):
        body = {"model": "tiny", "prompt": "Once", "max_tokens": 400, "ignore_eos": True}
        statuses.append(httpx.post(f"{address}/v1/completions", json=body, timeout=60).status_code)

    with running(small) as address:
        threads = [threading.Thread(target=ask, args=(address,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 429}
        assert httpx.post(f"{address}/v1/completions", json={"model": "tiny", "prompt": "Once"}).status_code == 200
    service.close()


@pytest.mark.parametrize("stream", [False, True])
def test_the_queue_counts_each_reply(tokenizer, template, tiny_model, stream):
    options = EngineOptions(max_running=1, max_queue=2, cache_bytes=64 << 20, page_size=16)
    service = Service(Engine(tiny_model.service._engine.model, tokenizer, options=options))
    small = ServedModel(name="tiny", service=service, tokenizer=tokenizer, template=template, max_context=TINY_CONTEXT)
    ask = {"model": "tiny", "prompt": "Once", "max_tokens": 2, "stream": stream}
    with running(small) as address, httpx.Client(base_url=address, timeout=20) as http:
        assert http.post("/v1/completions", json={**ask, "n": 3}).status_code == 200
        long = {**ask, "n": 2, "max_tokens": 2000, "ignore_eos": True, "stream": True}
        with http.stream("POST", "/v1/completions", json=long) as first:
            assert first.status_code == 200
            full = http.post("/v1/completions", json={**ask, "n": 2})
            assert (full.status_code, full.json()["error"]["code"]) == (429, "queue_full")
            assert "2 of at most 3 replies are open" in full.json()["error"]["message"]
            assert http.post("/v1/completions", json=ask).status_code == 200
        for too_many, message in (
            ({"n": 4}, "n is 4; at most 3 replies"),
            ({"n": 2, "prompt": ["a", "b"]}, "n is 2 for each of 2 prompts; at most 3 replies"),
        ):
            never = http.post("/v1/completions", json=ask | too_many)
            assert (never.status_code, never.json()["error"]["param"]) == (400, "n")
            assert message in never.json()["error"]["message"]
    service.close()
