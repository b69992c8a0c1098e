"""Problems later in a conversation: after others, which have been solved by then."""

import dataclasses
import random
from collections.abc import Mapping
from itertools import islice

from fulmen.tasks.task import Example, Task

_MOST_EARLIER = 3
_POOL = 64
"""Examples of each task that earlier turns are chosen from: they are context, and few are enough."""
_MOST_CHARACTERS = 800
"""Of an earlier problem: what is short leaves room for the last one, and is what people ask in passing."""


class EarlierTurns:
    """Puts problems of some tasks before a given one, as turns of the same conversation.

    The template leaves out the thinking of earlier replies, so these are read and not trained on, save those that never
    had any.

    Example: `EarlierTurns({"addition": (AdditionTask(), 2.0)}, fraction=0.25, seed=7).lead(example, key="talk 12")`.
    """

    def __init__(self, tasks: Mapping[str, tuple[Task, float]], *, fraction: float, seed: int) -> None:
        """Choose the tasks, each with its weight, and the fraction of problems that get earlier turns."""
        self._tasks, self._fraction, self._seed = tasks, fraction, seed
        self._pools: dict[str, list[Example]] = {}

    def lead(self, example: Example, *, key: str) -> Example:
        """The example, in the chosen fraction of cases after one to three others; the same for a key.

        An earlier problem with tools stands only before one that calls a tool, which is given its tools, too: where
        no tool fits, one of these might.
        """
        rng = random.Random(f"{self._seed} earlier {key}")
        if rng.random() >= self._fraction or example.messages[0].role == "system":
            return example
        for name in rng.choices(list(self._tasks), [weight for _, weight in self._tasks.values()], k=2 * _MOST_EARLIER):
            pool = [earlier for earlier in self._pool(name) if example.demonstration.tool_calls or not earlier.tools]
            if pool and rng.random() < 0.5:
                example = _joined(rng.choice(pool), example)
        return example

    def _pool(self, name: str) -> list[Example]:
        """Short examples of a task whose solutions are answers; made when first needed."""
        if name not in self._pools:
            examples = islice(self._tasks[name][0].examples("train", self._seed >> 33), _POOL)
            self._pools[name] = [example for example in examples if _is_passing(example)]
        return self._pools[name]


def _is_passing(example: Example) -> bool:
    length = sum(len(message.content) for message in example.messages)
    system = example.messages[0].role == "system"
    return not (system or example.demonstration.tool_calls) and length <= _MOST_CHARACTERS


def _joined(earlier: Example, example: Example) -> Example:
    """One conversation; of two tools of one name the later problem's stays."""
    names = {tool.name for tool in example.tools}
    return dataclasses.replace(
        example,
        messages=(*earlier.messages, earlier.demonstration, *example.messages),
        tools=(*example.tools, *(tool for tool in earlier.tools if tool.name not in names)),
    )
