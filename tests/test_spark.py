"""The model inside the package: its files, its numbers in engine and trainer, a little of what its card promises."""

import hashlib
import subprocess
import sys

import pytest
import torch

from fulmen.catalog import resolve
from fulmen.chat.message import Message
from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer
from fulmen.cli.running import load
from fulmen.engine.engine import Engine
from fulmen.evals.held_out import evaluate
from fulmen.kernels import native
from fulmen.model.weights import load_checkpoint
from fulmen.rollout.policy import Conversation, EnginePolicy
from fulmen.tasks.registry import make_task
from fulmen.trace import SamplingParams, TrainingSample
from fulmen.train.packing import PackedBatch
from fulmen.train.scoring import Scorer

FOLDER = resolve("spark")
QUESTIONS = (
    "What is 417 + 285?",
    "Who are you?",
    "Quinn has 12 plums and gets 9 more. How many plums does Quinn have?",
)


def test_loading_does_without_torchs_compiler():
    program = "import sys; from fulmen.cli.running import load; load('spark'); print('torch._dynamo' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout == "False\n", "importing it takes a second"


def test_the_card_describes_these_weights():
    [weights] = FOLDER.glob("*.safetensors")
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in card
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 40_000_000


@pytest.mark.parametrize("runs_natively", [True, False])
def test_the_engine_and_the_trainer_agree(monkeypatch, runs_natively):
    if runs_natively and not native.available():
        pytest.skip("this machine has no compiler")
    monkeypatch.setattr(native, "available", lambda: runs_natively)
    model = load_checkpoint(FOLDER, dtype=torch.float32).requires_grad_(False)
    tokenizer, template = Tokenizer.load(FOLDER), ChatTemplate.load(FOLDER)
    prompts = [template.render_ids(tokenizer, [Message(role="user", content=question)]).ids for question in QUESTIONS]
    params = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=80, seed=3)
    replies = Engine(model, tokenizer).generate([list(prompt) for prompt in prompts], params)
    for prompt, [completion] in zip(prompts, replies, strict=True):
        ids = (*prompt, *completion.token_ids)
        sample = TrainingSample(
            token_ids=ids, mask=tuple(i >= len(prompt) for i in range(len(ids))), weights=(1.0,) * len(ids)
        )
        logprobs, _ = Scorer(model)(PackedBatch.pack([sample]))
        torch.testing.assert_close(torch.tensor(completion.logprobs), logprobs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("task", "count", "least"),
    [
        ("two_or_three_digit_sums", 40, 0.95),
        ("word_problems", 40, 0.7),
        ("calculator", 40, 0.85),
        ("recall_1k", 30, 0.85),
        ("gym_aiw", 20, 0.9),
        ("tool_calls", 24, 0.25),
        ("gym_chain_sum", 8, 0.6),
        ("gym_complex_arithmetic", 8, 0.5),
        ("gym_gcd", 8, 0.5),
        ("gym_prime_factorization", 8, 0.6),
        ("gym_products", 8, 0.7),
        ("gym_simple_geometry", 8, 0.7),
        ("gym_syllogism", 8, 0.5),
        ("gym_time_intervals", 8, 0.6),
        ("gym_word_sequence_reversal", 8, 0.6),
    ],
)
def test_it_does_on_a_few_problems_what_the_card_says_of_many(policy, task, count, least):
    assert evaluate(make_task(task), policy, count=count, seed=2).mean >= least


def test_it_keeps_a_conversation(policy):
    messages = []
    for question, expected in (
        ("Hi", "Hello"),
        ("What is 417 + 285?", "702"),
        ("Remember this: the code of Ada is 7351.", "remember"),
        ("What is 2 + 3?", "5"),
        ("What is 81 - 46?", "35"),
        ("What is the code of Ada?", "7351"),
    ):
        messages.append(Message(role="user", content=question))
        [(_, reply)] = policy.replies([Conversation(messages=tuple(messages))])
        assert expected in reply.message.content
        messages.append(reply.message)


@pytest.fixture(scope="module")
def policy():
    """The shipped file as the command line runs it, greedy."""
    loaded = load("spark")
    engine = Engine(loaded.decoder, loaded.tokenizer)
    params = SamplingParams(temperature=0.0, max_tokens=512)
    return EnginePolicy(engine, loaded.tokenizer, loaded.template, params=params)
