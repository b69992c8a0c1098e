import dataclasses
import itertools
import json
import re

import pytest

from fulmen.chat.message import Message, ToolCall, ToolSpec
from fulmen.tasks.registry import make_task
from fulmen.tasks.task import Example
from fulmen.train.configuration import TaskData
from fulmen.train.data.retelling import Retelling
from fulmen.train.data.vocabulary import word_pieces

REPAIR = Example(
    messages=(
        Message(role="user", content="Repair the bridge for Paris. The zone is Paris; Bridge: HUH, 12 m."),
        Message(
            role="assistant",
            thinking="fits: repair_bridge; zone=Paris",
            tool_calls=(ToolCall(id="call_1", name="repair_bridge", arguments='{"zone": "Paris"}'),),
        ),
        Message(role="tool", content='{"title": "Paris"}', tool_call_id="call_1"),
    ),
    reference={},
    demonstration=Message(role="assistant", thinking="title: Paris", content="The title is Paris."),
    tools=(
        ToolSpec(
            name="repair_bridge",
            description="Repair a bridge.",
            parameters={"type": "object", "properties": {"zone": {"type": "string", "title": "Zone"}}},
        ),
    ),
)


class Vocabulary:
    """As much of a tokenizer as retelling needs: two names and four other words, of which one can begin a text."""

    special_token_ids = frozenset({0})
    token_bytes = (
        b"<end>",
        b"Quito",
        b"Selma",
        b"paint",
        b"Paint",
        b"shave",
        b"lens",
        b"filter",
        b"ab",
        b"7",
    )


def everything_of(example):
    return [
        text
        for message in (*example.messages, example.demonstration)
        for text in (message.content, message.thinking or "", *(f"{c.name} {c.arguments}" for c in message.tool_calls))
    ] + [f"{tool.name} {tool.description} {json.dumps(tool.parameters)}" for tool in example.tools]


def test_a_word_becomes_the_same_word_wherever_it_stands():
    retelling, seen = Retelling(Vocabulary(), fraction=1.0), set()
    for key in range(40):
        told = retelling.retell(REPAIR, key=str(key))
        deed, thing = told.tools[0].name.split("_")
        [zone] = told.tools[0].parameters["properties"]
        place = re.search(r"for (\w+)\.", told.messages[0].content)[1]
        cap = deed.capitalize()
        assert told.messages[0].content.startswith(f"{cap} the {thing} for {place}. The {zone} is {place};")
        assert told.messages[0].content.endswith("12 m.")
        assert told.messages[1].thinking == f"fits: {deed}_{thing}; {zone}={place}"
        assert json.loads(told.messages[1].tool_calls[0].arguments) == {zone: place}
        assert told.messages[1].tool_calls[0].name == f"{deed}_{thing}"
        assert told.messages[1].tool_calls[0].id == told.messages[2].tool_call_id == "call_1"
        assert told.tools[0].description == f"{cap} a {thing}."
        # formats of demonstrations and schemas stay
        assert told.tools[0].parameters["properties"][zone] == {"type": "string", "title": zone.capitalize()}
        assert told.demonstration.thinking == f"title: {place}"
        assert told.demonstration.content == f"The title is {place}."
        seen |= {deed, thing, place, zone}
    assert {"repair", "bridge", "Paris", "zone"} < seen  # some words stay
    assert {"paint", "shave", "filter", "Quito", "lens"} <= seen
    assert any(re.fullmatch("(lens|filter){2}", word) for word in seen)


def test_words_in_camel_case_are_told_as_elsewhere():
    messages = (Message(role="user", content="Repair the bridge, HUH or repairBridge."),)
    seen = set()
    for key in range(40):
        retelling = Retelling(Vocabulary(), fraction=1.0)
        told = retelling.retell(dataclasses.replace(REPAIR, messages=messages, tools=()), key=str(key))
        deed, thing = re.fullmatch(r"(\w+) the (\w+), HUH or \w+\.", told.messages[0].content).groups()
        assert told.messages[0].content.endswith(f" or {deed.lower()}{thing.capitalize()}.")
        seen.add(thing)
    assert len(seen) > 2


def test_requests_for_everyday_tools_keep_their_words():
    content = "Wake me at 7. Cancel the order, turn on the light."
    example = dataclasses.replace(REPAIR, messages=(Message(role="user", content=content),), tools=())
    for key in range(40):
        assert Retelling(Vocabulary(), fraction=1.0).retell(example, key=str(key)).messages[0].content == content


def test_choices_that_requests_spell_otherwise_keep_their_words():
    content = "Pay the price in EUR or euros, every_day or daily."
    example = dataclasses.replace(REPAIR, messages=(Message(role="user", content=content),), tools=())
    for key in range(40):
        told = Retelling(Vocabulary(), fraction=1.0).retell(example, key=str(key)).messages[0].content
        assert told.endswith("the price in EUR or euros, every_day or daily.")


def test_a_fraction_of_the_problems_is_retold_and_alike_for_a_key():
    retelling = Retelling(Vocabulary(), fraction=0.5)
    told = [retelling.retell(REPAIR, key=str(key)) for key in range(200)]
    assert 70 < sum(example is not REPAIR for example in told) < 130
    assert told == [retelling.retell(REPAIR, key=str(key)) for key in range(200)]
    assert all(Retelling(Vocabulary(), fraction=0.0).retell(REPAIR, key=str(key)) is REPAIR for key in range(9))


def test_a_vocabulary_of_bytes_makes_words_of_letters_and_one_without_leaves_problems_as_they_are():
    class Bytes:
        special_token_ids = frozenset()
        token_bytes = tuple(bytes([i]) for i in range(256))

    assert word_pieces(Bytes()) == [chr(i) for i in range(128) if chr(i).isalnum()]
    told = {Retelling(Bytes(), fraction=1.0).retell(REPAIR, key=str(key)).tools[0].name for key in range(9)}
    assert len(told) > 3
    assert all(re.fullmatch("[a-z]{3,}_[a-z]{3,}", name) for name in told)
    Bytes.token_bytes = Bytes.token_bytes[:65]
    assert Retelling(Bytes(), fraction=1.0).retell(REPAIR, key="1") is REPAIR


@pytest.mark.parametrize("task", ["tool_calls", "tool_results", "document_search", "reading", "recall_256", "repeat"])
def test_numbers_and_formats_of_tasks_survive(task):
    retelling = Retelling(Vocabulary(), fraction=1.0)
    for key, example in enumerate(itertools.islice(make_task(task).examples("train", 3), 60)):
        told = retelling.retell(example, key=str(key))
        for before, after in zip(everything_of(example), everything_of(told), strict=True):
            assert re.sub("[A-Za-z]+", "x", before) == re.sub("[A-Za-z]+", "x", after)
        for tool in told.tools:
            assert set(tool.parameters) >= {"type", "properties", "required"}
        assert (told.demonstration.thinking or "").count("fits: ") == (example.demonstration.thinking or "").count(
            "fits: "
        )


def test_retold_names_a_task_of_the_table():
    with pytest.raises(ValueError, match="retold has 'callls', which fits none of the tasks tool_calls"):
        TaskData(tasks={"tool_calls": 1.0}, retold=("callls",))
