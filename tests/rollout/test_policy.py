"""A policy answers as the engine does, whatever else it answers at the same time."""

import pytest
from tiny_hybrid import tiny_decoder, tiny_tokenizer

from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.prompt import build_prompt
from fulmen.chat.template import ChatTemplate
from fulmen.engine.engine import Engine, EngineOptions
from fulmen.engine.request import ContextTooLong
from fulmen.rollout.policy import Conversation, EnginePolicy
from fulmen.trace import SamplingParams

QUESTIONS = ["Hi", "What is 17 + 25?", "And what else could there be to say about all this?", "No", "Why", "x" * 90]
CONVERSATIONS = [Conversation(messages=(Message(role="user", content=text),)) for text in QUESTIONS]
PARAMS = SamplingParams(temperature=0.0, max_tokens=24)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def decoder():
    return tiny_decoder()


@pytest.fixture
def make_policy(decoder, tokenizer):
    def make(params=PARAMS, *, think=None, **options):
        engine = Engine(decoder, tokenizer, options=EngineOptions(cache_bytes=1 << 24, prefix_store=False, **options))
        return EnginePolicy(engine, tokenizer, ChatTemplate.minimax_m1(), params=params, thinking_budget=think), engine

    return make


def test_each_reply_is_the_engines_own(make_policy, tokenizer):
    policy, _ = make_policy(max_running=3)
    _, alone = make_policy(max_running=1)
    replies = dict(policy.replies(CONVERSATIONS))
    assert sorted(replies) == list(range(len(QUESTIONS)))
    for index, reply in replies.items():
        prompt = build_prompt(CONVERSATIONS[index].messages, tokenizer=tokenizer, template=ChatTemplate.minimax_m1())
        assert reply.prompt_ids == prompt.ids
        [[completion]] = alone.generate([prompt.ids], PARAMS)
        assert reply.completion.token_ids == completion.token_ids
        assert reply.message.content == tokenizer.decode(completion.token_ids)


def test_the_batch_is_full_and_never_more(make_policy):
    policy, engine = make_policy(max_running=3)
    seen = []

    def watched():
        for conversation in CONVERSATIONS:
            seen.append(len(engine.scheduler.running) + len(engine.scheduler.waiting))
            yield conversation

    assert len(list(policy.replies(watched()))) == len(QUESTIONS)
    assert seen == [0, 1, 2, *seen[3:]]
    assert max(seen) <= 2


def test_closing_cancels_what_still_runs(make_policy):
    policy, engine = make_policy(max_running=3)
    replies = policy.replies(CONVERSATIONS)
    next(replies)
    replies.close()
    assert not engine.scheduler.running
    assert len(list(policy.replies(CONVERSATIONS[:2]))) == 2


def test_a_thinking_budget_of_0_closes_the_thinking_in_the_prompt(make_policy, tokenizer):
    policy, _ = make_policy(think=0)
    _, reply = next(policy.replies(CONVERSATIONS[:1]))
    assert tokenizer.decode(reply.prompt_ids).endswith("</think>\n\n")


def test_tools_reach_the_prompt(make_policy, tokenizer):
    policy, _ = make_policy()
    tool = ToolSpec(name="get_weather", parameters={"type": "object", "properties": {}})
    [(_, reply)] = policy.replies([Conversation(messages=CONVERSATIONS[0].messages, tools=(tool,))])
    assert "get_weather" in tokenizer.decode(reply.prompt_ids)


def test_a_context_beyond_the_models_own_is_a_matter_of_options(make_policy):
    long = [Conversation(messages=(Message(role="user", content="x" * 900),))]
    policy, _ = make_policy()
    with pytest.raises(ContextTooLong, match="the context is 600"):
        list(policy.replies(long))
    policy, _ = make_policy(max_context=2000)
    assert len(list(policy.replies(long))) == 1


def test_several_choices_are_refused(make_policy):
    with pytest.raises(ValueError, match="n is 2"):
        make_policy(SamplingParams(n=2))
