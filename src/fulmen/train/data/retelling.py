"""Problems retold: nouns, names, deeds and labels become other words of the vocabulary, alike in request and reply.

The lists that tasks draw words from are short. A small model learns which words there are and takes the likeliest; told
with words from the whole vocabulary, a problem can only be solved by reading it.
"""

import dataclasses
import json
import random
import re
from collections.abc import Callable
from functools import cache

from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.tokenizer import Tokenizer
from fulmen.tasks.calls.tools import families, labels
from fulmen.tasks.lexicon import words
from fulmen.tasks.task import Example
from fulmen.tasks.wording import plural
from fulmen.train.data.vocabulary import word_pieces

_SHARE = 0.7
"""Of the words that can be replaced in a problem."""
_SHORTEST = 3
"""Letters of a new word."""
_NAMES = ("cities", "first_names", "surnames")
_OTHERS = ("adjectives", "animals", "foods", "instruments", "jobs", "things", "verbs")
_KEPT = frozenset(
    {
        # what demonstrations say of themselves
        "fits", "food", "height", "missing", "pet", "place", "price", "text", "tool", "weight", "year",
        # what JSON schemas are made of
        "default", "description", "enum", "format", "items", "number", "object", "title", "type",
        # the built-in tools
        "calculator", "document", "documents", "expression", "file", "line", "lines", "path", "query", "read", "result",
        "search",
    }
)  # fmt: skip
_WORD = re.compile(r"(?<![A-Za-z])[a-z]{3,}|[A-Z][a-z]{2,}|(?<![A-Za-z])[A-Z]{3,}(?![A-Za-z])")
"""Of snakes_in_names and ofCamels, too: a request says the same words apart."""


class Retelling:
    """Tells problems with other words.

    Example: `Retelling(tokenizer, fraction=0.5).retell(example, key="7/tool_calls/12")` may turn a request to book a
    table in Paris, and the call that answers it, into one to paint a lens in Filter.
    """

    def __init__(self, tokenizer: Tokenizer, *, fraction: float) -> None:
        """Take the words of a vocabulary, for a fraction of the problems."""
        self._fraction = fraction
        pieces = [piece for piece in word_pieces(tokenizer) if re.fullmatch("[A-Za-z]+", piece)]
        self._pools = {
            "name": [piece for piece in pieces if piece.istitle()],
            "other": [piece for piece in pieces if piece.islower()],
        }

    def retell(self, example: Example, *, key: str) -> Example:
        """The example, in the chosen fraction of cases in other words; the same for a key."""
        rng = random.Random(f"retelling {key}")
        if rng.random() >= self._fraction or not all(self._pools.values()):
            return example
        others: dict[str, str] = {}

        def other(match: re.Match[str]) -> str:
            word = match[0]
            known = word.lower()
            kind = _replaceable().get(known)
            if kind is None:
                return word
            if known not in others:
                new = self._draw(rng, kind)
                # two words must not become one: arguments would be lost
                others[known] = new if rng.random() < _SHARE and new not in others.values() else known
            return _in_case(others[known], word)

        return _rewritten(example, lambda text: _WORD.sub(other, text))

    def _draw(self, rng: random.Random, kind: str) -> str:
        """One to three pieces."""
        word = ""
        while len(word) < _SHORTEST:
            word = "".join(rng.choices(self._pools[kind], k=rng.choice((1, 1, 1, 2, 2, 3)))).lower()
        return word


@cache
def _replaceable() -> dict[str, str]:
    """Words to their kinds: names and others; not choices that requests name by other words.

    Nor what requests for everyday tools say: "wake me" is for `set_alarm` only in these words.
    """
    spelt = [part for names in labels("train").values() for name in names for part in name.split()]
    labelled = {part for text in spelt if "=" not in text for part in text.split("_")}
    kinds = dict.fromkeys(map(str.lower, labelled), "other")
    for kind, lists in (("other", _OTHERS), ("name", _NAMES)):
        kinds |= {part: kind for name in lists for word in words(name, "train") for part in word.lower().split("_")}
    kinds |= {plural(thing): "other" for thing in words("things", "train")}
    kept = _KEPT.union(part for text in spelt if "=" in text for part in re.split("[_=]", text.lower()))
    everyday = (text for tool in families("train") for text in (tool.name, *tool.requests))
    kept = kept.union(word for text in everyday for word in re.findall("[a-z]+", text.lower()))
    return {word: kind for word, kind in kinds.items() if word not in kept}


def _in_case(word: str, like: str) -> str:
    return word.upper() if like.isupper() else word.capitalize() if like[0].isupper() else word


def _rewritten(example: Example, rewrite: Callable[[str], str]) -> Example:
    """The example with everything that it says rewritten; only training reads it then, so its reference stays."""

    def message(original: Message) -> Message:
        thinking = original.thinking
        calls = (
            dataclasses.replace(call, name=rewrite(call.name), arguments=rewrite(call.arguments))
            for call in original.tool_calls
        )
        return dataclasses.replace(
            original,
            content=rewrite(original.content),
            thinking=None if thinking is None else rewrite(thinking),
            tool_calls=tuple(calls),
        )

    def tool(spec: ToolSpec) -> ToolSpec:
        parameters = json.loads(rewrite(json.dumps(spec.parameters)))
        return ToolSpec(name=rewrite(spec.name), description=rewrite(spec.description), parameters=parameters)

    return dataclasses.replace(
        example,
        messages=tuple(map(message, example.messages)),
        tools=tuple(map(tool, example.tools)),
        demonstration=message(example.demonstration),
    )
