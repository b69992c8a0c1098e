"""A policy of this process as an agent's model: the real engine, and scripted policies."""

import asyncio
import threading

import pytest
from tiny_hybrid import tiny_decoder, tiny_tokenizer

from fulmen.agents.agent import Agent
from fulmen.agents.loop import Run
from fulmen.agents.model import ContextFull
from fulmen.agents.policy_model import PolicyModel
from fulmen.agents.records import Budget
from fulmen.chat.message import Message, ToolCall
from fulmen.chat.parser import TextDelta, ThinkingDelta
from fulmen.chat.template import ChatTemplate
from fulmen.engine.engine import Engine, EngineOptions
from fulmen.rollout.policy import EnginePolicy, PolicyReply
from fulmen.tools.registry import ToolRegistry
from fulmen.trace import Completion, SamplingParams

COMPLETION = Completion(token_ids=(1, 2), logprobs=(0.0, 0.0), sampled=(True, True), finish_reason="stop")


class ScriptedPolicy:
    """Says what a test wrote down, and keeps what it was asked."""

    def __init__(self, *messages):
        self.messages, self.asked = list(messages), []

    def replies(self, conversations):
        for index, conversation in enumerate(conversations):
            self.asked.append(conversation)
            yield index, PolicyReply(message=self.messages.pop(0), prompt_ids=(1, 2, 3), completion=COMPLETION)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def engine_policy(tokenizer):
    engine = Engine(tiny_decoder(), tokenizer, options=EngineOptions(cache_bytes=1 << 24))
    params = SamplingParams(temperature=0.0, max_tokens=200, ignore_eos=True, repetition_stop=None)
    return EnginePolicy(engine, tokenizer, ChatTemplate.minimax_m1(), params=params), engine


def test_a_policy_drives_an_agent(tools):
    calls = (ToolCall(id="call_1", name="add", arguments='{"a": 1, "b": 2}'),)
    policy = ScriptedPolicy(
        Message(role="assistant", thinking="A sum.", tool_calls=calls), Message(role="assistant", content="3.")
    )
    seen = []
    run = Run.start("Add.", agent=Agent(), model=PolicyModel(policy, name="p"), tools=tools.registry, watch=seen.append)
    ended = asyncio.run(run.finish())
    assert (ended.outcome, ended.answer) == ("answered", "3.")
    assert tools.added == [(1, 2)]
    assert all(conversation.keep_thinking for conversation in policy.asked)
    assert [conversation.max_tokens for conversation in policy.asked] == [100_000, 99_998]
    assert policy.asked[1].messages[-2].thinking == "A sum."
    assert [event for event in seen if isinstance(event, ThinkingDelta | TextDelta)] == [
        ThinkingDelta("A sum."), TextDelta("3."),
    ]  # fmt: skip


def test_the_engines_reply_is_streamed_and_no_longer_than_allowed(engine_policy):
    policy, _ = engine_policy
    seen = []
    run = Run.start(
        "Talk.",
        agent=Agent(system=""),
        model=PolicyModel(policy, name="tiny"),
        tools=ToolRegistry(),
        budget=Budget(tokens=20),
        watch=seen.append,
    )
    ended = asyncio.run(run.finish())
    assert ended.outcome == "tokens_spent"
    assert run.state.completion_tokens == 20
    texts = [event.text for event in seen if isinstance(event, TextDelta)]
    assert "".join(texts) == ended.answer
    assert len(texts) > 1


def test_a_conversation_that_does_not_fit_is_said_to_be_too_long(engine_policy):
    policy, _ = engine_policy
    messages = [Message(role="user", content="x" * 700)]
    with pytest.raises(ContextFull, match="the context is 600"):
        asyncio.run(PolicyModel(policy, name="tiny").reply(messages, (), max_tokens=5, watch=print))


def test_cancelling_ends_the_engines_work(engine_policy):
    policy, engine = engine_policy
    begun = threading.Event()

    async def work():
        model = PolicyModel(policy, name="tiny")
        task = asyncio.ensure_future(
            model.reply([Message(role="user", content="Talk.")], (), max_tokens=10_000, watch=lambda delta: begun.set())
        )
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert begun.is_set()
    assert not engine.scheduler.running
