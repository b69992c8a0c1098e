"""The task of reading: a text of 3 to 12 sentences, and a question that it answers, or that it doesn't."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from fulmen.chat.message import Message
from fulmen.tasks.lexicon import random_source
from fulmen.tasks.reading.questions import KINDS, Question
from fulmen.tasks.reading.world import World, draw_world
from fulmen.tasks.task import Example, Score, Split
from fulmen.tasks.wording import says_only

_LAYOUTS = (
    "{text}\n\n{question}", "{text}\n\n{question}", "{text}\n\nQuestion: {question}",
    "Text: {text}\n\nQuestion: {question}",
    "Read this text.\n\n{text}\n\n{question}", "{question}\n\n{text}", "{text} {question}",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReadingTask:
    """Questions about invented people, objects and villages, answered in a word or two.

    Example: `ReadingTask(("two_hops",))` asks only such questions; `ReadingTask()` asks of all kinds.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    """Which of `KINDS` occur."""

    def __post_init__(self) -> None:
        """Refuse kinds of questions that don't exist.

        Raises:
            ValueError: the kinds are none, or not all of them are known; the message says which there are.
        """
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"kinds are {self.kinds}; each must be one of {', '.join(KINDS)}")

    @property
    def name(self) -> str:
        """`reading`, followed by the kind if there is only one."""
        return f"reading_{self.kinds[0]}" if len(self.kinds) == 1 else "reading"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            world, question = self._draw(rng, split)
            text = " ".join(fact.sentence(rng) for fact in world.facts)
            content = rng.choice(_LAYOUTS).format(text=text, question=question.text)
            yield Example(
                messages=(Message(role="user", content=content),),
                reference={"answer": question.answer.rstrip("."), "wrong": list(question.wrong)},
                demonstration=Message(role="assistant", thinking=question.thinking, content=question.answer),
            )

    def _draw(self, rng: random.Random, split: Split) -> tuple[World, Question]:
        kind = rng.choice(self.kinds)
        while True:
            world = draw_world(rng, split)
            question = KINDS[kind](rng, split, world)
            if question is not None:
                return world, question

    def score(self, example: Example, reply: Message) -> Score:
        """1 for a reply that says the answer and no other value of its kind from the text."""
        answer, wrong = example.reference["answer"], example.reference["wrong"]
        right = says_only(reply.content, answer, wrong)
        return Score(value=float(right), why="" if right else f"{answer!r} was expected, and none of {wrong}")
