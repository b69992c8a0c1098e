"""Recall: what is asked was said once, at any depth, in texts as long as they claim to be."""

import time

import pytest
from dialogue_proofs import TEMPLATE, prove_round_trip, prove_scores, prove_splits, take

from fulmen.chat.message import Message
from fulmen.tasks.recall import TASKS
from fulmen.tasks.recall.recall_task import RecallTask
from fulmen.tasks.wording import says

SHORT = ("associative_recall", "repeat", "recall_over_turns", "recall_256", "recall_1k", "recall_4k")
splits = pytest.mark.parametrize("split", ["train", "test"])


@splits
@pytest.mark.parametrize("name", SHORT)
def test_task_proves_itself(name, split):
    task = TASKS[name]()
    for seed in range(4):
        examples = take(task, split, seed, 25 if name == "recall_4k" else 60)
        prove_scores(task, examples)
        prove_round_trip(examples)


@pytest.mark.parametrize("name", TASKS)
def test_names_and_lengths(name):
    task = TASKS[name]()
    assert task.name == name
    if isinstance(task, RecallTask) and task.length_tokens <= 65536:
        for example in take(task, "test", 0, 3):
            prompt = TEMPLATE.render(example.messages)
            assert len(prompt) / 2.2 == pytest.approx(task.length_tokens, rel=0.02, abs=80)


@pytest.mark.parametrize("name", SHORT)
def test_splits_share_no_problem(name):
    prove_splits(TASKS[name](), 100)


def test_the_rate_sets_the_length():
    short, long = (take(RecallTask(4096, rate), "test", 0, 1)[0].messages[0].content for rate in (2.2, 3.3))
    assert len(long) / len(short) == pytest.approx(1.5, rel=0.02)
    with pytest.raises(ValueError, match="length_tokens is 10; it must be at least 64"):
        RecallTask(10)
    with pytest.raises(ValueError, match="characters_per_token is nan"):
        RecallTask(100, float("nan"))


@splits
def test_the_pair_stands_once_in_the_text_and_at_every_depth(split):
    depths = []
    for example in take(TASKS["recall_1k"](), split, 1, 400):
        text = example.messages[0].content
        answer = example.demonstration.content
        assert text.count(answer) == 1
        assert says(answer, example.reference["value"])
        depths.append(text.index(answer) / len(text))
    for low in (0, 0.2, 0.4, 0.6, 0.8):
        assert sum(low <= depth < low + 0.2 for depth in depths) > 40


def test_a_test_asks_once_and_training_for_every_pair():
    task = TASKS["recall_1k"]()
    assert {len(e.messages) for e in take(task, "test", 0, 60)} == {1}
    for example in take(task, "train", 0, 100):
        asked = (len(example.messages) + 1) // 2
        assert asked == len(example.reference["others"]) + 1
        assert asked == len({message.content for message in example.messages if message.role == "user"})
    assert asked <= 40


def test_naming_every_value_is_no_answer():
    task = TASKS["recall_over_turns"]()
    example = next(e for e in take(task, "test", 0, 50) if e.reference["others"])
    value, others = example.reference["value"], example.reference["others"]
    assert task.score(example, Message(role="assistant", content=f"It is {value}.")).value == 1
    assert task.score(example, Message(role="assistant", content=", ".join([value, *others]))).value == 0
    assert task.score(example, Message(role="assistant", content=others[0])).value == 0


def test_lines_are_judged_one_by_one():
    task = TASKS["associative_recall"]()
    example = next(e for e in take(task, "test", 0, 50) if len(e.reference) >= 4)
    lines = example.demonstration.content.split("\n")
    swapped = task.score(example, Message(role="assistant", content="\n".join([lines[1], lines[0], *lines[2:]])))
    assert (swapped.value, swapped.parts["lines"]) == (0, 1 - 2 / len(lines))
    assert task.score(example, Message(role="assistant", content="\n".join([*lines, lines[0]]))).value == 0
    assert task.score(example, Message(role="assistant", content="\n".join(lines[:-1]))).value == 0


def test_long_texts_are_made_fast():
    start = time.process_time()
    take(TASKS["recall_16k"](), "train", 0, 30)
    assert time.process_time() - start < 1
