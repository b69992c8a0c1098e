"""Recall over turns: the user tells something, talks of other things, and asks for it later."""

import random
from collections.abc import Iterator

from fulmen.chat.message import Message
from fulmen.tasks.lexicon import random_source, words
from fulmen.tasks.recall.pairs import draw_pairs
from fulmen.tasks.recall.recall_task import score_recall
from fulmen.tasks.task import Example, Score, Split

_NOTED = ("Noted.", "I will remember that.", "Got it.")
_REQUESTS = ("Please remember this: {}", "Remember this. {}", "Note this: {}", "Keep this in mind: {}")


class RecallOverTurnsTask:
    """Conversations of two to eight turns in which one to four things were told before one is asked for."""

    name = "recall_over_turns"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            pairs = draw_pairs(rng, split, rng.randint(1, 4))
            turns = [_told(rng, pair.statement) for pair in pairs]
            for _ in range(rng.randint(0, 4)):
                turns.insert(rng.randint(0, len(turns)), _other_talk(rng, split))
            asked = rng.choice(pairs)
            messages = (*(message for turn in turns for message in turn), Message(role="user", content=asked.question))
            yield Example(
                messages=messages,
                reference={"value": asked.value, "others": [pair.value for pair in pairs if pair is not asked]},
                demonstration=Message(role="assistant", content=asked.statement),
            )

    def score(self, example: Example, reply: Message) -> Score:
        """1 for a reply that names the value and no other pair's."""
        return score_recall(example, reply)


def _told(rng: random.Random, statement: str) -> tuple[Message, Message]:
    text = rng.choice(_REQUESTS).format(statement)
    return Message(role="user", content=text), Message(role="assistant", content=rng.choice(_NOTED))


def _other_talk(rng: random.Random, split: Split) -> tuple[Message, Message]:
    """Something short, and the reply; to sums it thought, so that none is learned as an answer without a thought."""
    thing, adjective = rng.choice(words("things", split)), rng.choice(words("adjectives", split))
    small, more = rng.randint(1, 9), rng.randint(1, 9)
    question, answer, thinking = rng.choice(
        (
            (f"What is {small} + {more}?", str(small + more), f"{small}+{more}={small + more}"),
            (f"Say the word {thing}.", thing.capitalize() + ".", None),
            (f"My {thing} is {adjective}. What is my {thing} like?", f"Your {thing} is {adjective}.", None),
            (f"Repeat after me: {adjective} {thing}", f"{adjective} {thing}", None),
        )
    )
    return Message(role="user", content=question), Message(role="assistant", content=answer, thinking=thinking)
