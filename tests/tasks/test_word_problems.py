"""Word problems prove themselves: every step holds, the answer is the last result, and nothing is left unfilled."""

import random
import re
from statistics import median

import pytest
from proofs import prove_scores, prove_splits, take
from worked_steps import check_steps

from fulmen.tasks.word_problems import TASKS, WHOLE_STORIES
from fulmen.tasks.word_problems.composed import ENDINGS, EVENTS, OPENINGS
from fulmen.tasks.word_problems.story import MAX_STEPS, Piece, draw_story, draw_words
from fulmen.tasks.word_problems.vocabulary import DISTRACTORS

TASK = TASKS["word_problems"]()
PIECES = (*WHOLE_STORIES, *OPENINGS, *EVENTS, *ENDINGS)


@pytest.mark.parametrize("split", ["train", "test"])
def test_task_proves_itself(split) -> None:
    for seed in range(10):
        examples = take(TASK, split, seed, 60)
        prove_scores(TASK, examples)
        for example in examples:
            thinking = example.demonstration.thinking
            lines = thinking.splitlines()
            assert 2 <= len(lines) <= MAX_STEPS
            assert check_steps(thinking.replace("r", ";r")) >= len(lines)
            assert lines[-1].endswith(f"={example.reference.split()[0]}")


def test_splits_share_no_problem() -> None:
    prove_splits(TASK, 4000)
    numbers = {
        split: {(e.demonstration.thinking) for e in take(TASK, split, 1, count)}
        for split, count in (("train", 5000), ("test", 1000))
    }
    shared = numbers["train"] & numbers["test"]
    assert len(shared) < 0.01 * len(numbers["test"])  # another story may ask for the same sums


def test_traces_are_short() -> None:
    lengths = [len(e.demonstration.thinking) for e in take(TASK, "train", 1, 2000)]
    assert median(lengths) <= 160
    assert max(lengths) <= 330


def test_texts_are_whole_and_end_with_a_question() -> None:
    for example in take(TASK, "train", 2, 2000):
        question = example.messages[0].content
        assert not set("{}=") & set(question)
        assert question.endswith("?")
        assert "  " not in question


def test_there_are_many_kinds_of_stories() -> None:
    assert len(WHOLE_STORIES) >= 40
    assert len(OPENINGS) * len(EVENTS) * len(ENDINGS) >= 800
    names = [piece.name for piece in PIECES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("story", WHOLE_STORIES, ids=[story.name for story in WHOLE_STORIES])
def test_every_story_can_be_drawn(story) -> None:
    rng = random.Random(0)
    drawn = [draw_story(rng, [story]) for _ in range(400)]
    assert sum(problem is not None for problem in drawn) >= 10


@pytest.mark.parametrize("opening", OPENINGS, ids=[piece.name for piece in OPENINGS])
@pytest.mark.parametrize("event", EVENTS, ids=[piece.name for piece in EVENTS])
def test_every_event_fits_every_opening(opening, event) -> None:
    rng = random.Random(0)
    drawn = [draw_story(rng, [opening, event, rng.choice(ENDINGS)]) for _ in range(400)]
    assert any(problem is not None for problem in drawn)


@pytest.mark.parametrize("piece", PIECES, ids=[piece.name for piece in PIECES])
def test_texts_name_every_number(piece) -> None:
    words = draw_words(random.Random(0))
    for text in piece.texts:
        slots = set(re.findall(r"{(\w+)}", text))
        assert set(piece.numbers) <= slots
        assert slots <= set(piece.numbers) | set(words)


def test_distractors_come_and_go() -> None:
    beginnings = [re.split(r"[{]", text)[0] for text in DISTRACTORS if not text.startswith("{")]
    examples = take(TASK, "train", 3, 500)
    distracted = sum(any(b in e.messages[0].content for b in beginnings) for e in examples)
    assert 40 < distracted < 200


def test_a_story_by_hand() -> None:
    piece = Piece(
        name="gift",
        texts=("There are {a} {items} and {b} go. How many stay, twice?",),
        numbers={"a": (36,), "b": (5,)},
        steps=("left=a-b", "twice=left*2"),
        unit="{items}",
    )
    problem = draw_story(random.Random(1), [piece])
    assert problem.key == "gift:a=36;b=5"
    assert problem.answer.startswith("62 ")
    assert problem.thinking == "left:36-05:3>0;6-5-0=1-00,1;3-0-0=3-00,31;=31\ntwice:31*2:" + (
        "1*2=02,02+0=02,2;3*2=06,06+0=06,62;=62"
    )


def test_a_malformed_step_is_named() -> None:
    piece = Piece(name="odd", texts=("How many?",), steps=("a plus b",))
    with pytest.raises(ValueError, match="'a plus b' of odd"):
        draw_story(random.Random(0), [piece])
