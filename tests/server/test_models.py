"""`/v1/models`, `/tokenize`, `/detokenize` and `/metrics`."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from scripted import Script


def test_models(openai_client):
    (model,) = openai_client.models.list().data
    assert (model.id, model.object, model.created, model.max_model_len) == ("scripted", "model", 1_700_000_000, 4096)
    assert openai_client.models.retrieve("scripted") == model


def test_unknown_model_names_the_known_one(http):
    response = http.get("/v1/models/org/other")
    assert response.status_code == 404
    assert "'scripted'" in response.json()["error"]["message"]


def test_text_to_tokens_and_back(http, tokenizer):
    text = "<begin_of_document>\u00e9"
    reply = http.post("/tokenize", json={"prompt": text}).json()
    assert reply == {"tokens": tokenizer.encode(text, allow_special=True), "count": 3, "max_model_len": 4096}
    assert http.post("/detokenize", json={"tokens": reply["tokens"]}).json() == {"prompt": text}


def test_chat_to_tokens_counts_as_the_chat_does(http, openai_client, say):
    messages = [{"role": "user", "content": "Hi"}]
    usage = openai_client.chat.completions.create(model="scripted", messages=messages).usage
    assert http.post("/tokenize", json={"messages": messages}).json()["count"] == usage.prompt_tokens


@pytest.mark.parametrize("body", [{}, {"prompt": "a", "messages": []}, {"messages": []}, {"prompt": 3}])
def test_tokenize_refuses(http, body):
    assert http.post("/tokenize", json=body).status_code == 400


@pytest.mark.parametrize("tokens", [[-1], [10**6], ["a"], [1.5], None, [True]])
def test_detokenize_refuses(http, tokens):
    assert http.post("/detokenize", json={"tokens": tokens}).status_code == 400


def test_metrics_count_what_passed(http, openai_client, say):
    def values():
        families = text_string_to_metric_families(http.get("/metrics").text)
        return {
            (sample.name, sample.labels.get("finished_reason")): sample.value
            for family in families
            for sample in family.samples
        }

    say(Script(text="four", finish_reason="length", cached_tokens=3))
    before = values()
    usage = openai_client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "Hi"}]).usage
    after = values()

    def grew(name, reason=None):
        return after[f"fulmen:{name}", reason] - before.get((f"fulmen:{name}", reason), 0)

    assert grew("prompt_tokens_total") == usage.prompt_tokens
    assert grew("generation_tokens_total") == 4
    assert grew("prefix_cache_hits_total") == 3
    assert grew("time_to_first_token_seconds_count") == 1
    assert grew("inter_token_latency_seconds_count") == 3
    assert grew("e2e_request_latency_seconds_count") == 1
    assert grew("request_success_total", "length") == 1
    assert after["fulmen:num_requests_running", None] == 0


def test_apps_have_metrics_of_their_own(served):
    from fulmen.server.app import create_app

    assert create_app(served).state.metrics is not create_app(served).state.metrics
