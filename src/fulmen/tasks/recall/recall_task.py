"""The needle in the haystack: key and value pairs in a long text, and the question for one of them at its end."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from fulmen.chat.message import Message
from fulmen.tasks.lexicon import random_source
from fulmen.tasks.recall.haystack import fill
from fulmen.tasks.recall.pairs import draw_pairs
from fulmen.tasks.task import Example, Score, Split
from fulmen.tasks.wording import says_only

_ORDERS = ("Read this and remember the details.", "Remember what stands here:", "Here is a text.", "")
_MOST_PAIRS = {"train": 40, "test": 12}
_PAIRS_SHARE = 0.4
"""How much of the text pairs may take: short texts hold fewer of them."""


@dataclass(frozen=True, slots=True)
class RecallTask:
    """Recall of a pair at any depth of a text of a given length.

    Tasks know no tokenizer: the length is counted in characters, by a rough rate that can be given. An evaluation
    that must know the length tokenizes the prompt, and adjusts the rate to its tokenizer.

    In training every pair is asked for, one turn each: all else in a long text teaches nothing of recall. A test asks
    for one.

    Example: `RecallTask(16_384)`; with a tokenizer whose tokens are longer, `RecallTask(16_384, 3.2)`.
    """

    length_tokens: int
    """Of the text with its question, roughly."""
    characters_per_token: float = 2.2

    def __post_init__(self) -> None:
        """Refuse lengths that can't hold a question.

        Raises:
            ValueError: the length or the rate is too small; the message says what it must be.
        """
        if self.length_tokens < 64:
            raise ValueError(f"length_tokens is {self.length_tokens}; it must be at least 64, to hold a question")
        if not self.characters_per_token >= 1:
            raise ValueError(f"characters_per_token is {self.characters_per_token}; it must be at least 1")

    @property
    def name(self) -> str:
        """`recall_16k` for 16,384 tokens, `recall_256` for 256."""
        whole, rest = divmod(self.length_tokens, 1024)
        return f"recall_{self.length_tokens if rest else f'{whole}k'}"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        length = int(self.length_tokens * self.characters_per_token)
        while True:
            most = max(1, min(_MOST_PAIRS[split], int(length * _PAIRS_SHARE) // 40))
            pairs = draw_pairs(rng, split, rng.randint(1, most))
            order = rng.choice(_ORDERS)
            asked = rng.sample(pairs, len(pairs) if split == "train" else 1)
            room = length - len(order) - sum(len(pair.question) + len(pair.statement) for pair in asked)
            text = fill(rng, split, [pair.statement for pair in pairs], room)
            messages = [Message(role="user", content=f"{order}\n\n{text}\n\n{asked[0].question}".strip())]
            for before, pair in pairwise(asked):
                messages.append(Message(role="assistant", content=before.statement))
                messages.append(Message(role="user", content=pair.question))
            yield Example(
                messages=tuple(messages),
                reference={
                    "value": asked[-1].value,
                    "others": [pair.value for pair in pairs if pair is not asked[-1]],
                },
                demonstration=Message(role="assistant", content=asked[-1].statement),
            )

    def score(self, example: Example, reply: Message) -> Score:
        """1 for a reply that names the value and no other pair's."""
        return score_recall(example, reply)


def score_recall(example: Example, reply: Message) -> Score:
    """1 for a reply that names the reference's value and none of its others."""
    value, others = example.reference["value"], example.reference["others"]
    right = says_only(reply.content, value, others)
    return Score(value=float(right), why="" if right else f"{value} was expected, and none of the other values")
