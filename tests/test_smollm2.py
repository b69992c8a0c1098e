"""A real pretrained model through the whole path: SmolLM2-135M-Instruct against transformers, and its answer."""

import pytest
import torch
import transformers

import fulmen
from fulmen.catalog import folder_of
from fulmen.chat import ChatTemplate, Message, Tokenizer, build_prompt
from fulmen.chat.message import ToolSpec
from fulmen.chat.toolcalls import ToolChoice
from fulmen.engine.engine import Engine
from fulmen.trace import SamplingParams

pytestmark = pytest.mark.smollm2
FOLDER = folder_of("smollm2-135m")


@pytest.fixture(scope="module")
def folder():
    if not (FOLDER / "config.json").is_file():
        pytest.skip("run `fulmen pull smollm2-135m` first; `make test` does")
    return FOLDER


@pytest.fixture(scope="module")
def model(folder):
    return fulmen.load(folder)


@pytest.fixture(scope="module")
def tokenizer(folder) -> Tokenizer:
    return Tokenizer.load(folder)


TEXT = "The hybrid model has 7 lightning layers for every softmax layer. Naïve café, 東京, 12345.\n\n" * 4


def test_logits_equal_transformers_llama(folder, model, tokenizer) -> None:
    peer = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor(tokenizer.encode(TEXT))
    with torch.inference_mode():
        expected = peer(ids[None]).logits[0]
        torch.testing.assert_close(model.logits(ids), expected, atol=1e-3, rtol=1e-3)


def test_the_tokenizer_equals_transformers(folder, tokenizer) -> None:
    peer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.encode(TEXT) == peer.encode(TEXT)
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_forced_call_is_written_in_the_tokens_of_the_vocabulary_and_makes_sense(folder, tokenizer, quantize) -> None:
    parameters = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
    prompt = build_prompt(
        [Message(role="user", content="What is the weather in San Francisco?")],
        tokenizer=tokenizer,
        template=ChatTemplate.load(folder),
        tools=[ToolSpec(name="get_weather", description="Weather of a city", parameters=parameters)],
        tool_choice=ToolChoice(mode="required"),
    )
    engine = Engine(fulmen.load(folder, quantize=quantize), tokenizer)
    params = SamplingParams(temperature=0.0, max_tokens=64, grammar=prompt.grammar)
    ((reply,),) = engine.generate([prompt.ids], params)
    call = '{"name": "get_weather", "arguments": {"location": "San Francisco"}}'
    text = tokenizer.decode(reply.token_ids)
    assert text == f"<tool_calls>\n{call}\n</tool_calls>"
    assert list(reply.token_ids) == tokenizer.encode(text)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_it_knows_the_capital_of_france(folder, tokenizer, quantize) -> None:
    question = [Message(role="user", content="What is the capital of France?")]
    prompt = build_prompt(question, tokenizer=tokenizer, template=ChatTemplate.load(folder))
    engine = Engine(fulmen.load(folder, quantize=quantize), tokenizer)
    ((reply,),) = engine.generate([prompt.ids], SamplingParams(temperature=0.0, max_tokens=32))
    assert tokenizer.decode(reply.token_ids) == "The capital of France is Paris."
    assert reply.finish_reason == "stop"


def test_engine_logprobs_equal_those_of_a_whole_pass(model, tokenizer) -> None:
    prompt = tokenizer.encode("Once upon a time")
    ((reply,),) = Engine(model, tokenizer).generate([prompt], SamplingParams(seed=1, top_p=1.0, max_tokens=24))
    ids = torch.tensor([*prompt, *reply.token_ids])
    with torch.inference_mode():
        logprobs = model.logits(ids).log_softmax(-1)[len(prompt) - 1 : -1]
    expected = logprobs.gather(1, ids[len(prompt) :, None])[:, 0]
    torch.testing.assert_close(torch.tensor(reply.logprobs), expected, atol=1e-4, rtol=1e-4)
