"""What every task must show: its demonstrations score 1, anything else 0, and seeds and splits mean what they say."""

import dataclasses
from collections.abc import Iterable
from itertools import islice

from fulmen.tasks.task import Example, Split, Task


def take(task: Task, split: Split, seed: int, count: int) -> list[Example]:
    """The first examples of a split."""
    return list(islice(task.examples(split, seed), count))


def prove_scores(task: Task, examples: Iterable[Example], wrong: str = "-987654") -> None:
    """Gold scores 1, a wrong answer 0 with a reason, an empty reply 0."""
    for example in examples:
        gold = task.score(example, example.demonstration)
        assert gold.value == 1, (example, gold.why)
        for content in (wrong, "", "   ", "\u00e9\ud800 [[[ {"):
            score = task.score(example, dataclasses.replace(example.demonstration, content=content))
            assert score.value == 0, (example, content)
            assert score.why


def questions(examples: Iterable[Example]) -> set[str]:
    """What the user says in each."""
    return {example.messages[-1].content for example in examples}


def prove_splits(task: Task, count: int, seeds: Iterable[int] = range(3)) -> None:
    """No question of one split is one of the other; the same seed repeats itself, another doesn't."""
    train = {q for seed in seeds for q in questions(take(task, "train", seed, count))}
    test = {q for seed in seeds for q in questions(take(task, "test", seed, count // 5))}
    assert train
    assert test
    assert not train & test
    for split in ("train", "test"):
        assert take(task, split, 5, 20) == take(task, split, 5, 20)
        assert take(task, split, 5, 20) != take(task, split, 6, 20)
