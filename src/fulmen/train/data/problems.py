"""Problems that a task generates, as training samples.

Some begin with a system message (`instructions`), some come after others (`conversations`), some are told with other
words (`retelling`).
"""

import hashlib
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

from fulmen.tasks.task import Example, Task
from fulmen.trace import TrainingSample
from fulmen.train.configuration import TrainOn
from fulmen.train.data.conversations import EarlierTurns
from fulmen.train.data.files import Writing
from fulmen.train.data.instructions import instructed
from fulmen.train.data.retelling import Retelling
from fulmen.train.data.store import Document

_BLOCK = 64
"""Examples drawn with one seed. A generator can't be wound forward: to resume draws at most so many again."""
_PATIENCE = 100


class ProblemSource:
    """A `SampleSource` over the training split of a task: each problem with its demonstration.

    Problem i is number `i % 64` of the seed made from the run's seed, the task's name and `i // 64`. Those longer than
    `length` tokens are left out and counted.
    """

    def __init__(
        self,
        task: Task,
        writing: Writing,
        *,
        length: int,
        train_on: TrainOn,
        keep_thinking: bool,
        seed: int,
        earlier: EarlierTurns,
        retelling: Retelling,
    ) -> None:
        self._task, self._writing, self._length, self._train_on, self._seed = task, writing, length, train_on, seed
        self._keep_thinking, self._earlier, self._retelling = keep_thinking, earlier, retelling
        self._examples: Iterator[Example] = iter(())
        self._drawn = 0
        self.left_out = 0
        """Problems that were too long."""

    def next(self) -> TrainingSample:
        """The next problem that fits.

        Raises:
            ValueError: a hundred in a row don't.
        """
        shortest = None
        for _ in range(_PATIENCE):
            example = self._next_example()
            key = f"{self._seed}/{self._task.name}/{self._drawn}"
            alone = self._retelling.retell(example, key=key)
            document = self._written(self._earlier.lead(alone, key=key), key)
            if len(document.ids) > self._length:
                document = self._written(alone, key)
            if len(document.ids) <= self._length:
                return document.sample()
            if not self.left_out:
                warnings.warn(
                    f"{self._task.name} has problems of more than {self._length} tokens, which are left out",
                    stacklevel=2,
                )
            self.left_out += 1
            shortest = min(len(document.ids), shortest or len(document.ids))
        raise ValueError(
            f"{_PATIENCE} problems of {self._task.name} in a row were longer than {self._length} tokens; the shortest "
            f"has {shortest}: raise the stage's length, or leave the task out"
        )

    def state_dict(self) -> dict[str, Any]:
        """The position: problems drawn, and how many of them were left out."""
        return {"drawn": self._drawn, "left_out": self.left_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._drawn, self.left_out = state["drawn"], state["left_out"]
        block, position = divmod(self._drawn, _BLOCK)
        self._examples = self._block(block) if position else iter(())  # at 0, `_next_example` opens it
        next(islice(self._examples, position, position), None)

    def _written(self, example: Example, key: str) -> Document:
        messages = instructed(example.messages, seed=key)
        return self._writing.conversation(
            (*messages, example.demonstration), example.tools, self._train_on, keep_thinking=self._keep_thinking
        )

    def _next_example(self) -> Example:
        block, position = divmod(self._drawn, _BLOCK)
        if not position:
            self._examples = self._block(block)
        self._drawn += 1
        try:
            return next(self._examples)
        except StopIteration:
            raise ValueError(f"task {self._task.name} ran out of problems; examples must not end") from None

    def _block(self, block: int) -> Iterator[Example]:
        digest = hashlib.blake2b(f"{self._seed} {self._task.name} {block}".encode(), digest_size=4)
        return iter(self._task.examples("train", int.from_bytes(digest.digest()) >> 1))  # a seed that any library takes
