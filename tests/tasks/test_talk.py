"""Talk: replies hold what their intents ask for, wordings are told apart, and nothing of a test is said in training."""

import pytest
from dialogue_proofs import prove_round_trip, prove_scores, prove_splits, take

from fulmen.chat.message import Message
from fulmen.tasks.lexicon import random_source
from fulmen.tasks.talk import TASKS
from fulmen.tasks.talk.intents import draw_fact, draw_unknown, holds_keys, intents, plain

TASK = TASKS["talk"]()
splits = pytest.mark.parametrize("split", ["train", "test"])


@splits
def test_task_proves_itself(split):
    for seed in range(8):
        examples = take(TASK, split, seed, 100)
        prove_scores(TASK, examples)
        prove_round_trip(examples)
        assert all(example.demonstration.thinking is None for example in examples)


def test_splits_share_no_problem():
    prove_splits(TASK, 3000)


def test_there_are_many_intents_in_many_wordings():
    train, test = intents("train"), intents("test")
    assert len(train) == len(test) >= 60
    for one, other in zip(train, test, strict=True):
        assert one.name == other.name
        assert len(one.replies) >= 2
        assert len(set(one.asks + other.asks)) >= 5, one.name
        assert one.asks
        assert other.asks
        assert not {plain(ask) for ask in one.asks} & {plain(ask) for ask in other.asks}


def test_a_wording_means_one_thing():
    meanings = {}
    for split in ("train", "test"):
        for intent in intents(split):
            for ask in intent.asks:
                assert meanings.setdefault(plain(ask), intent.name) == intent.name, ask


def test_every_reply_holds_its_keys_and_no_reply_those_of_too_many_others():
    everything = intents("train")
    for intent in everything:
        for reply in intent.replies:
            assert holds_keys(reply, intent.keys), (intent.name, reply)
            others = [other.name for other in everything if other is not intent and holds_keys(reply, other.keys)]
            assert len(others) <= 6, (reply, others)


@splits
def test_facts_and_unknowns(split):
    rng = random_source("test", split, 0)
    facts = [draw_fact(rng, split) for _ in range(3000)]
    assert len({fact.reply for fact in facts}) > 60
    assert any("France" in fact.said and fact.reply == "The capital of France is Paris." for fact in facts)
    for exchange in facts:
        assert holds_keys(exchange.reply, exchange.keys)
        assert "{" not in exchange.said + exchange.reply
    unknown = [draw_unknown(rng, split) for _ in range(1000)]
    assert len({exchange.said for exchange in unknown}) > 900
    assert all("{" not in exchange.said and holds_keys(exchange.reply, exchange.keys) for exchange in unknown)


def test_names_are_remembered_only_when_told():
    told = untold = 0
    for example in take(TASK, "train", 0, 3000):
        reply = example.demonstration.content
        earlier = " ".join(message.content for message in example.messages[:-1])
        if reply.startswith("Your name is "):
            told += 1
            assert example.reference[0] in earlier
        untold += reply.startswith("I don't know your name")
    assert told > 50
    assert untold > 10


def test_keys_are_all_wanted():
    example = next(e for e in take(TASK, "test", 0, 500) if e.reference == ["spark", "fulmen", "minimax-m1"])
    for content, value in (
        ("I am SPARK of Fulmen, a kind of MiniMax-M1.", 1),
        ("I am Spark of Fulmen.", 0),
        ("Sparks, Fulmen, MiniMax-M1", 0),
    ):
        assert TASK.score(example, Message(role="assistant", content=content)).value == value
