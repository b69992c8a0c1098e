"""Associative recall: a list of pairs, and many questions about it at once, so that nearly every token teaches."""

from collections.abc import Iterator

from fulmen.chat.message import Message
from fulmen.tasks.lexicon import random_source
from fulmen.tasks.recall.pairs import draw_pairs
from fulmen.tasks.task import Example, Score, Split
from fulmen.tasks.wording import says

_MOST_PAIRS, _MOST_QUESTIONS = 32, 12


class AssociativeRecallTask:
    """Up to 32 pairs, and up to 12 of them asked for in one message and answered line by line."""

    name = "associative_recall"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            pairs = draw_pairs(rng, split, rng.randint(2, _MOST_PAIRS))
            asked = rng.sample(pairs, rng.randint(1, min(len(pairs), _MOST_QUESTIONS)))
            text = "\n".join(pair.statement for pair in pairs)
            questions = "\n".join(pair.question for pair in asked)
            yield Example(
                messages=(Message(role="user", content=f"{text}\n\n{questions}"),),
                reference=[pair.value for pair in asked],
                demonstration=Message(role="assistant", content="\n".join(pair.statement for pair in asked)),
            )

    def score(self, example: Example, reply: Message) -> Score:
        """1 when each line names the value asked for; the part `lines` is the share of lines that do."""
        lines = [line for line in reply.content.split("\n") if line.strip()]
        values = example.reference
        right = sum(says(line, value) for line, value in zip(lines, values, strict=False))
        exact = right == len(values) == len(lines)
        return Score(
            value=float(exact),
            parts={"lines": right / len(values)},
            why="" if exact else f"{right} of {len(values)} lines are right, and there are {len(lines)} lines",
        )
