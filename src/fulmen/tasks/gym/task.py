"""Tasks of reasoning-gym: its questions and its judgement, with step-by-step solutions of ours.

The question is word for word the one that reasoning-gym makes, and its own scorer says whether an answer is right. A
question belongs to a split by a hash of its text, because two of its seeds may draw the same one.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from itertools import count
from typing import Any

from fulmen.chat.message import Message
from fulmen.tasks.problem import split_of
from fulmen.tasks.task import Example, Score, Split

_SIZE = 10**9
"""Virtual: a dataset makes an entry when it is asked for one."""

_Option = int | tuple[str, ...] | tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """How an entry is solved.

    Example: `Solution(thinking="c a t\\nt a c", answer="tac")`.
    """

    thinking: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class GymTask:
    """A dataset of reasoning-gym as a task.

    Example: `GymTask(dataset="spell_backward", solve=solve_spell_backward)`.
    """

    dataset: str
    """Its name in reasoning-gym."""
    solve: Callable[[Mapping[str, Any]], Solution]
    """Works an entry out; what it finds must be right by reasoning-gym's scorer."""
    config: Mapping[str, _Option] = field(default_factory=dict)
    """What differs from the dataset's default configuration, always towards easier problems."""

    @property
    def name(self) -> str:
        """Names the task in configurations and reports."""
        return f"gym_{self.dataset}"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        first = int.from_bytes(hashlib.sha256(f"{self.name} {split} {seed}".encode()).digest()[:6])
        dataset = self._open(first)
        for index in count():
            entry = dataset[index]
            if split_of(entry["question"]) != split:
                continue
            solution = self.solve(entry)
            yield Example(
                messages=(Message(role="user", content=entry["question"]),),
                reference={"seed": first, "index": index, "answer": solution.answer},
                demonstration=Message(role="assistant", thinking=solution.thinking, content=solution.answer),
            )

    def score(self, example: Example, reply: Message) -> Score:
        """1 where reasoning-gym's scorer finds the reply, or its last line, fully right, else 0.

        What the scorer gives for less, such as for an answer nearly right, is the part `gym`.
        """
        text = reply.content.strip()
        if not text:
            return Score(value=0.0, why=f"the reply is empty; {example.reference['answer']} was expected")
        dataset = self._open(example.reference["seed"])
        entry = dataset[example.reference["index"]]
        last_line = text.splitlines()[-1].strip()
        candidates = {text, text.rstrip("."), last_line, last_line.rstrip("."), last_line.rpartition(": ")[2]}
        best = max(_judge(dataset, entry, candidate) for candidate in candidates)
        right = best >= 1
        why = "" if right else f"the reply ends in {last_line[-60:]!r}, and {entry['answer']} was expected"
        return Score(value=float(right), parts={"gym": min(max(best, 0.0), 1.0)}, why=why)

    def _open(self, seed: int) -> Any:
        return _open(self.dataset, tuple(self.config.items()), seed)


def require_reasoning_gym(task: str) -> None:
    """ValueError says how to install reasoning-gym where it is missing: before a task's first problem is wanted."""
    if find_spec("reasoning_gym") is None:
        raise ValueError(
            f"the task {task} needs the package reasoning-gym, which the extra `train` brings: run "
            f"{sys.executable} -m pip install -c constraints.txt -e '.[train]' in Fulmen's folder"
        )


@lru_cache(maxsize=64)
def _open(name: str, config: tuple[tuple[str, _Option], ...], seed: int) -> Any:
    """A dataset of reasoning-gym, which is imported now: it takes seconds, and only training and evaluation need it."""
    import reasoning_gym

    options = {key: list(value) if isinstance(value, tuple) else value for key, value in config}
    dataset = reasoning_gym.create_dataset(name, seed=seed, size=_SIZE, **options)
    for attribute, value in vars(dataset).items():
        if isinstance(value, set):
            setattr(dataset, attribute, _Ordered(value))
    return dataset


class _Ordered(frozenset[str]):
    """A set that is walked through in order.

    Some datasets draw from a set of letters, whose order is another in each process; the problems of a seed were too.
    """

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(super().__iter__()))

    def __sub__(self, other: Set[Any]) -> "_Ordered":
        return _Ordered(super().__sub__(other))


def _judge(dataset: Any, entry: Mapping[str, Any], answer: str) -> float:
    """Reasoning-gym's score; 0 where its scorer stumbles over a malformed answer, as some do."""
    try:
        return float(dataset.score_answer(answer, entry))
    except Exception:
        return 0.0
