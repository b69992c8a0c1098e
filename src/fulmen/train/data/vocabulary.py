"""Words put together from the whole vocabulary, to be repeated, looked up or compared.

Where replies alone are trained, tokens that no reply holds are never wanted, and a small model learns not to write
them: it reads a tool's name and can't repeat it. Here every token is copied about equally often.

Whether two words are the same is asked for once in a whole dialogue, if at all. Here it is asked in every line and
nothing else is trained: a few ten thousand answers teach it for all words at once.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from fulmen.chat.message import Message
from fulmen.chat.tokenizer import Tokenizer
from fulmen.tasks.calls.situation import chosen
from fulmen.tasks.wording import capital
from fulmen.trace import TrainingSample
from fulmen.train.data.files import Writing
from fulmen.train.data.store import Document

_MOST_WORDS = 40
_MOST_PAIRS = 12
_MOST_DEEDS = 20
_WISHES = ("Repeat: {}", "Say this again: {}", "Copy this.\n{}", "{}\n\nRepeat that word for word.")
_LINKS = (": ", " = ", " -> ", " is ", "=")
_ARTICLES = ("a", "the", "my")


def word_pieces(tokenizer: Tokenizer) -> list[str]:
    """The tokens of a vocabulary that are words or parts of words, of letters and digits."""
    special = tokenizer.special_token_ids
    texts = (_text(token) for i, token in enumerate(tokenizer.token_bytes) if i not in special)
    return [text for text in texts if text.isalnum()]


class VocabularySource:
    """A `SampleSource` of short texts: a quarter repeat random words, a quarter find what stands beside one of them,
    half say of deeds and names, line after line, whether they are of the same words.
    """

    def __init__(self, writing: Writing, *, length: int, seed: int) -> None:
        """Prepare to draw words from the tokenizer's vocabulary.

        Args:
            writing: how text becomes tokens.
            length: most tokens of a sample; texts are made shorter until they fit.
            seed: of the words.

        Raises:
            ValueError: no token of the vocabulary is a part of a word.
        """
        self._pieces = word_pieces(writing.tokenizer)
        if not self._pieces:
            raise ValueError('no token of the vocabulary is a part of a word: kind = "vocabulary" has nothing to draw')
        self._writing, self._length, self._seed = writing, length, seed
        self._drawn = 0

    def next(self) -> TrainingSample:
        """The next text.

        Raises:
            ValueError: not even one of two words fits into the length.
        """
        rng = random.Random(f"{self._seed}/{self._drawn}")
        self._drawn += 1
        for document in self._attempts(rng):
            if len(document.ids) <= self._length:
                return document.sample()
        raise ValueError(f"no text of two words fits into {self._length} tokens: raise the stage's length")

    def _attempts(self, rng: random.Random) -> Iterator[Document]:
        """Texts, each shorter than the one before."""
        if rng.random() < 0.5:
            yield from (self._comparison(rng, deeds) for deeds in _halvings(_MOST_DEEDS, 1))
        for words in _halvings(_MOST_WORDS, 2):
            yield self._writing.conversation(self._draw(rng, words), (), "replies")

    def state_dict(self) -> dict[str, Any]:
        """The position: texts drawn."""
        return {"drawn": self._drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._drawn = state["drawn"]

    def _draw(self, rng: random.Random, most: int) -> tuple[Message, ...]:
        if rng.random() < 0.5:
            text = rng.choice((" ", ", ", "\n")).join(self._word(rng) for _ in range(rng.randint(2, most)))
            return _dialogue(rng.choice(_WISHES).format(text), text)
        pairs = {self._word(rng): self._word(rng) for _ in range(rng.randint(1, min(most, _MOST_PAIRS)))}
        link = rng.choice(_LINKS)
        table = "\n".join(f"{key}{link}{value}" for key, value in pairs.items())
        key, value = rng.choice(list(pairs.items()))
        return _dialogue(f"{table}\n\nWhat is {key}?", f"{key}{link}{value}")

    def _comparison(self, rng: random.Random, count: int) -> Document:
        """Names, and deeds with one beside each, as a thought of a call has them; what follows a name is trained.

        The names stand above as tools do: that a name was read before says nothing.
        """
        encode = self._writing.tokenizer.encode
        parts, names = list[tuple[list[int], bool]](), list[str]()
        for _ in range(count):
            words = [self._word(rng), self._word(rng)]
            tried, named = list[str](), list[str]()
            for _ in range(rng.choice((1, 1, 2, 3))):
                if named != words:
                    named = list(words)
                    for index in rng.choice(((), (), (), (0,), (1,), (0, 1))):
                        named[index] = self._word(rng)
                    tried.append(_tool_name(rng, named))
            deed = f"{words[0]} {rng.choice(_ARTICLES)} {words[1]}\n"
            deed = capital(deed) if rng.random() < 0.25 else deed
            lines = chosen(deed, tried, fits=named == words)[1:]
            for line, name in zip(lines, tried, strict=True):
                before, _, verdict = f"{line}\n".rpartition(name)
                parts += [(encode(deed + before + name), False), (encode(verdict), True)]
                deed = ""
            names += tried
        question = f"Which fit? {', '.join(rng.sample(names, len(names)))}\n\n"
        parts.insert(0, (encode(question, add_bos=True), False))
        ids = tuple(id for part, _ in parts for id in part)
        return Document(ids=ids, trained=tuple(trained for part, trained in parts for _ in part))

    def _word(self, rng: random.Random) -> str:
        return rng.choice(("", "", "", "_")).join(rng.choices(self._pieces, k=rng.choice((1, 1, 1, 2, 2, 3))))


def _tool_name(rng: random.Random, words: Sequence[str]) -> str:
    """In one of the styles of names: with underscores in either order, or with capitals."""
    first, second = words if rng.random() < 0.8 else reversed(words)
    return f"{first}{capital(second)}" if rng.random() < 0.25 else f"{first}_{second}"


def _halvings(most: int, least: int) -> Iterator[int]:
    while most >= least:
        yield most
        most //= 2


def _dialogue(asked: str, reply: str) -> tuple[Message, ...]:
    return Message(role="user", content=asked), Message(role="assistant", content=reply)


def _text(token: bytes) -> str:
    """A token as text; empty if it is a part of a character."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return ""
