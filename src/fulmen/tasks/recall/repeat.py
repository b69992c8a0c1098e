"""Repeating word for word: half of all tokens are copies of earlier ones, so that copying is learned first."""

from collections.abc import Iterator

from fulmen.chat.message import Message
from fulmen.tasks.lexicon import random_source
from fulmen.tasks.recall.pairs import draw_item
from fulmen.tasks.task import Example, Score, Split

_MOST_ITEMS = 24
_WISHES = ("Repeat: {text}", "Say this again: {text}", "Copy this.\n{text}", "{text}\n\nRepeat that word for word.")
_SEPARATORS = (" ", ", ", "\n", "; ")


class RepeatTask:
    """Up to 24 names, numbers, labels, things and places, to be repeated as they are."""

    name = "repeat"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            items = [draw_item(rng, split) for _ in range(rng.randint(2, _MOST_ITEMS))]
            text = rng.choice(_SEPARATORS).join(items)
            yield Example(
                messages=(Message(role="user", content=rng.choice(_WISHES).format(text=text)),),
                reference=text,
                demonstration=Message(role="assistant", content=text),
            )

    def score(self, example: Example, reply: Message) -> Score:
        """1 when the reply is the text; the part `words` is the share of words that are right at their place."""
        wanted, found = example.reference.split(), reply.content.split()
        right = sum(word == other for word, other in zip(wanted, found, strict=False))
        exact = reply.content.strip() == example.reference
        return Score(
            value=float(exact),
            parts={"words": right / max(len(wanted), len(found))},
            why="" if exact else f"{right} of {len(wanted)} words are right, and there are {len(found)}",
        )
