"""Grammar constraints by llguidance: which tokens may come next, from the bytes of each token.

One `Grammars` for a vocabulary, one `Constraint` for a reply. A constraint follows forced tokens as well as sampled
ones, because a grammar for tool calls describes the thinking before them too.
"""

import re
from functools import cached_property

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from fulmen.trace import Grammar, Vocabulary

_SOURCE = re.compile(r"\n *\d+ \| ")  # where the library begins to show the lines of the grammar

_LIMITS = LLParserLimits(max_grammar_size=40_000)  # symbols: 5,000 properties, and a second or two to compile


class Constraint:
    """The state of one reply in its grammar."""

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size

    def mask(self) -> NDArray[np.uint8]:
        """uint8 [vocab]: 1 where the token may come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(bits, bitorder="little", count=self._vocab_size)

    def consume(self, token: int) -> None:
        """Follow a token; a forced one that the grammar does not know is passed over."""
        if self._matcher.validate_tokens([token]):
            self._matcher.consume_token(token)

    @property
    def complete(self) -> bool:
        """Whether the grammar is satisfied and nothing more may follow."""
        return bool(self._matcher.is_stopped())

    @property
    def failed(self) -> bool:
        """Whether the grammar cannot be followed further: no finite text may fit it, or it grew too large."""
        return bool(self._matcher.is_error())

    def copy(self) -> "Constraint":
        """A constraint in the same state, for another choice of the request."""
        return Constraint(self._matcher.deep_copy(), self._vocab_size)


class Grammars:
    """Compiles grammars for one vocabulary.

    Example: `Grammars(tokenizer, vocab_size).compile(Grammar(kind="regex", source="yes|no")).mask()`.
    """

    def __init__(self, vocabulary: Vocabulary, vocab_size: int) -> None:
        self._vocabulary = vocabulary
        self._vocab_size = vocab_size

    def compile(self, grammar: Grammar) -> Constraint:
        """Prepare a constraint; ValueError says what the grammar library rejects, or that the grammar is too large.

        Takes seconds for the largest, and lets other threads run meanwhile.
        """
        source = getattr(LLMatcher, f"grammar_from_{grammar.kind}")(grammar.source)
        matcher = LLMatcher(self._tokenizer, source, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            reason = _SOURCE.split(matcher.get_error())[0]
            raise ValueError(f"the {grammar.kind} grammar cannot be used: {reason}")
        return Constraint(matcher, self._vocab_size)

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        """Built at the first use: it takes half a second for a vocabulary of 200,000."""
        if not self._vocabulary.eos_token_ids:
            raise ValueError("a grammar needs a vocabulary with an end token")
        return LLTokenizer(TokenizerWrapper(_Bytes(self._vocabulary)), eos_token=list(self._vocabulary.eos_token_ids))


class _Bytes:
    """The vocabulary as llguidance asks for it."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.eos_token_id = vocabulary.eos_token_ids[0]
        self.special_token_ids = sorted(vocabulary.special_token_ids)
        # llguidance marks control tokens by the byte 0xFF, which no text contains.
        self.tokens = [
            b"\xff[%d]" % i if i in vocabulary.special_token_ids or not data else bytes(data)
            for i, data in enumerate(vocabulary.token_bytes)
        ]
        self._first_of_byte = {data: i for i, data in reversed(list(enumerate(self.tokens))) if len(data) == 1}

    def __call__(self, text: bytes) -> list[int]:
        """Cut a text as the tokenizer cuts it.

        Where only one text can follow, llguidance allows no tokens but these. Others would be strange to the model,
        which then writes nonsense where it is free again, and would not be found in the prefix store afterwards.
        """
        try:
            ids = self._vocabulary.encode(text.decode())
        except UnicodeDecodeError:  # it begins or ends within a character
            ids = []
        if b"".join(self.tokens[i] for i in ids) == text:
            return ids
        return [
            self._first_of_byte[text[i : i + 1]] for i in range(len(text)) if text[i : i + 1] in self._first_of_byte
        ]
