"""A task and policies without a model: what is asked and answered is known."""

import itertools
import random
from dataclasses import dataclass

import pytest

from fulmen.chat.message import Message
from fulmen.rollout.policy import PolicyReply
from fulmen.tasks.task import Example, Score
from fulmen.trace import Completion


@dataclass(frozen=True, kw_only=True)
class Doubling:
    """Double a number; the answer and its parity are judged."""

    name: str = "doubling"
    size: int | None = None

    def examples(self, split, seed):
        numbers = random.Random(f"{split} {seed}")
        for _ in range(self.size) if self.size is not None else itertools.count():
            number = numbers.randrange(1000)
            yield Example(
                messages=(Message(role="user", content=str(number)),),
                reference=str(2 * number),
                demonstration=Message(role="assistant", content=str(2 * number)),
            )

    def score(self, example, reply):
        right = reply.content == example.reference
        even = reply.content[-1:] in ("0", "2", "4", "6", "8")
        return Score(value=float(right), parts={"even": float(even)}, why="" if right else "not the double")


class Calculator:
    """Doubles, but errs by one where the index is a multiple of `wrong_every`; answers come in reverse order."""

    def __init__(self, wrong_every):
        self.wrong_every = wrong_every

    def replies(self, conversations):
        for index, conversation in reversed(list(enumerate(conversations))):
            answer = 2 * int(conversation.messages[0].content) + (index % self.wrong_every == 0)
            completion = Completion(
                token_ids=(1,) * (index + 1),
                logprobs=(0.0,) * (index + 1),
                sampled=(True,) * (index + 1),
                finish_reason="length" if index == 2 else "stop",
            )
            message = Message(role="assistant", content=str(answer))
            yield index, PolicyReply(message=message, prompt_ids=(1,), completion=completion)


@pytest.fixture
def doubling():
    return Doubling


@pytest.fixture
def calculator():
    return Calculator
