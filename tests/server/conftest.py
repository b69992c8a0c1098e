"""A server over real HTTP in a thread, around a scripted service, and OpenAI's client for it."""

import httpx
import openai
import pytest
from scripted import ScriptedService, byte_tokenizer
from serving import TINY_CONTEXT, running
from tiny_hybrid import tiny_decoder

from fulmen.chat.template import ChatTemplate
from fulmen.engine.engine import Engine, EngineOptions
from fulmen.engine.service import Service
from fulmen.server.served_model import ServedModel, ServerOptions
from fulmen.trace import SamplingParams


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="session")
def template():
    return ChatTemplate.minimax_m1()


@pytest.fixture(scope="module")
def served(tokenizer, template):
    return ServedModel(
        name="scripted",
        service=ScriptedService(tokenizer),
        tokenizer=tokenizer,
        template=template,
        max_context=4096,
        created=1_700_000_000,
    )


@pytest.fixture(scope="module")
def address(served):
    with running(served, ServerOptions(max_body_bytes=100_000)) as address:
        yield address


@pytest.fixture(scope="module")
def openai_client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def http(address):
    with httpx.Client(base_url=address, timeout=20) as client:
        yield client


@pytest.fixture
def say(served):
    """Write down what the model says next."""
    served.service.say("Hello there.")
    return served.service.say


@pytest.fixture(scope="module")
def tiny_model(tokenizer, template):
    """A tiny random hybrid in the real engine."""
    options = EngineOptions(max_running=8, max_queue=64, cache_bytes=64 << 20, page_size=16)
    decoder = tiny_decoder(vocab_size=tokenizer.vocab_size, rotary_dim=8, postnorm=False, max_context=TINY_CONTEXT)
    # Tokens that are no ASCII become unlikely, so that most replies are text that survives its way back in a prompt.
    strange = [i for i, data in enumerate(tokenizer.token_bytes) if not data.isascii() or data < b"\t"]
    decoder.lm_head.weight[strange] = 0
    service = Service(Engine(decoder, tokenizer, options=options))
    defaults = SamplingParams(temperature=0.0, top_p=1.0, max_tokens=48)
    yield ServedModel(
        name="tiny",
        service=service,
        tokenizer=tokenizer,
        template=template,
        max_context=service.max_context,
        defaults=defaults,
    )
    service.close()
