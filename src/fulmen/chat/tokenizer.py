"""Text to token ids and back, with the bytes that each token stands for.

A Hugging Face folder holds the vocabulary; the `tokenizers` library does the work. Two things are ours: control
tokens written out in somebody's text stay text (`guard`), and ids become text byte by byte without ever breaking
a character (`IncrementalDecoder`). `Tokenizer` satisfies `trace.Vocabulary`, all that the engine knows of it.
"""

import codecs
import itertools
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
    "special_tokens_map.json", "vocab.json", "merges.txt",
)  # fmt: skip
"""What belongs to the tokenizer and the chat template of a checkpoint folder."""
_TAG = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+\]")
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Tokenizer:
    """A vocabulary with its merges, control tokens and end tokens.

    Example::

        tokenizer = Tokenizer.load("checkpoint")
        tokenizer.encode("Hi <end_of_sentence>")  # the tag is spelled in ordinary tokens
        tokenizer.encode("Hi <end_of_sentence>", allow_special=True)  # the tag is one control token
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, eos_token_ids: Iterable[int] = ()) -> None:
        """Wrap a tokenizer of the `tokenizers` library; `eos_token_ids` end a reply."""
        self._backend = backend
        self._eos_token_ids = tuple(dict.fromkeys(eos_token_ids))
        added = backend.get_added_tokens_decoder()
        self._added = {token_id: token.content for token_id, token in added.items()}
        # The tags of a reply are text to `parser`, even where a vocabulary declares them special.
        self._special = frozenset(i for i, token in added.items() if token.special and not _is_reply_tag(token.content))
        control = [t.content for t in added.values() if t.special or _TAG.fullmatch(t.content)]
        self._control = sorted((text for text in control if len(text) > 1), key=len, reverse=True)
        self._control_start = re.compile(f"(?={'|'.join(map(re.escape, self._control))})")
        self._control_prefixes = {text[:length] for text in self._control for length in range(1, len(text))}

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Read `tokenizer.json` of a checkpoint folder, and its end tokens from the configs beside it.

        End tokens are those of `generation_config.json`, `config.json` and `tokenizer_config.json` together, in this
        order: published folders disagree, and MiniMax-M1's `config.json` says null.

        Raises:
            ValueError: a file is missing or broken; the message names it.
        """
        folder = Path(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ValueError(f"{path} does not exist: a checkpoint folder needs its tokenizer")
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"{path} is no tokenizer: {error}") from error
        eos: list[int] = []
        for name in ("generation_config.json", "config.json"):
            given = read_json(folder / name).get("eos_token_id")
            ids = given if isinstance(given, list) else [] if given is None else [given]
            if not all(isinstance(token_id, int) for token_id in ids):
                raise ValueError(
                    f"{folder / name}: eos_token_id is {given!r:.60}; it must be a whole number, a list of them or null"
                )
            eos.extend(ids)
        token = token_text(read_json(folder / "tokenizer_config.json").get("eos_token"))
        token_id = None if token is None else backend.token_to_id(token)
        return cls(backend, eos_token_ids=[*eos, *([] if token_id is None else [token_id])])

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return len(self.token_bytes)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Ids that end a reply."""
        return self._eos_token_ids

    @cached_property
    def special_token_ids(self) -> frozenset[int]:
        """Control tokens, and ids below `vocab_size` that no token has: neither is text."""
        used = set(self._backend.get_vocab(with_added_tokens=True).values())
        return self._special | (set(range(self.vocab_size)) - used)

    @cached_property
    def token_bytes(self) -> Sequence[bytes]:
        """The bytes of each id, by id; empty for `special_token_ids`."""
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        byte_level = "ByteLevel" in _decoder_kinds(json.loads(self._backend.to_str())["decoder"])
        table = [b""] * (max(vocabulary.values(), default=-1) + 1)
        for piece, token_id in vocabulary.items():
            if token_id in self._special:
                continue
            if token_id in self._added:
                table[token_id] = piece.encode()
            else:
                table[token_id] = _byte_level_bytes(piece) if byte_level else _sentencepiece_bytes(piece)
        return tuple(table)

    @cached_property
    def _longest_token(self) -> int:
        """Bytes of the longest token, control tokens included."""
        return max(map(len, (*self.token_bytes, *(text.encode() for text in self._added.values()))), default=1)

    def encode(self, text: str, *, allow_special: bool = False, add_bos: bool = False) -> list[int]:
        """Turn text into ids.

        Args:
            text: any text.
            allow_special: read control tokens written out in `text` as such; False for all text of a user.
            add_bos: begin with what the tokenizer puts before a document, if it does (Llama's `<s>`).

        Raises:
            ValueError: the text holds half of a surrogate pair.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the text has an unpaired surrogate at character {error.start}") from None
        ids = list(self._backend.encode("", add_special_tokens=True).ids) if add_bos else []
        cut = unused_characters(text, 1)
        pieces = [piece for piece in (text if allow_special else self.guard(text, cut)).split(cut) if piece]
        # The call for many texts, unlike that for one, lets other threads run meanwhile.
        for encoding in self._backend.encode_batch_fast(pieces, add_special_tokens=False):
            ids += encoding.ids
        return ids

    def least_tokens(self, text: str) -> int:
        """Return how many tokens `encode` makes at least, by length alone: no work, however long the text is."""
        return -(-len(text.encode("utf-8", "surrogatepass")) // self._longest_token)

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """Turn ids into the text that `IncrementalDecoder` would stream; control tokens are left out or written out.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        pieces = []
        for token_id in ids:
            if not 0 <= token_id < self.vocab_size:
                raise ValueError(f"token id {token_id} is not in the vocabulary of {self.vocab_size}")
            if token_id in self._special and not skip_special:
                pieces.append(self._added[token_id].encode())
            else:
                pieces.append(self.token_bytes[token_id])
        return b"".join(pieces).decode("utf-8", "replace")

    def guard(self, text: str, cut: str) -> str:
        """Insert the character `cut` so that no piece between two cuts spells a control token, whatever follows it.

        Each spelled-out control token is cut after its first character; so is the end of a text that could become
        one by what is rendered after it. Encoding the pieces one by one then gives text tokens only.
        """
        if not self._control:
            return text
        starts = [match.start() + 1 for match in self._control_start.finditer(text)]
        pieces = [text[i:j] for i, j in zip([0, *starts], [*starts, len(text)], strict=True)]
        longest = len(self._control[0])
        unfinished = any(text[-length:] in self._control_prefixes for length in range(1, min(longest, len(text) + 1)))
        return cut.join(pieces) + (cut if unfinished else "")


class IncrementalDecoder:
    """Bytes of tokens to text, holding back a character until it is complete.

    Bytes that can never become a character turn into U+FFFD; an unfinished character does so only in `finish`.
    """

    def __init__(self) -> None:
        """Start with nothing held back."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """Return the text that `data` completes; may be empty."""
        return self._decoder.decode(data)

    def finish(self) -> str:
        """Return what is still held back, as U+FFFD."""
        return self._decoder.decode(b"", final=True)


def unused_characters(text: str, count: int) -> str:
    """Return `count` private-use characters that do not occur in `text`, to mark places in it."""
    private = (chr(code) for code in range(0xF0000, 0xFFFFE))
    return "".join(itertools.islice((char for char in private if char not in text), count))


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer and the chat template of one checkpoint folder to another, and nothing else.

    A model card, for example, tells of the weights beside it and would be wrong beside others.
    """
    for file in (source / name for name in TOKENIZER_FILES):
        if file.is_file():
            shutil.copy2(file, target / file.name)


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a JSON object from a file; an absent file is an empty one.

    Raises:
        ValueError: the file is no JSON object; the message names it.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): it is damaged or cut off, copy it again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, not {value!r:.60}")
    return value


def token_text(token: object) -> str | None:
    """The text of a token as `tokenizer_config.json` gives it: a string, or an object with `content`."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else None


def _is_reply_tag(text: str) -> bool:
    return text in ("<think>", "</think>", "<tool_calls>", "</tool_calls>")


def _decoder_kinds(decoder: Mapping[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    return {decoder["type"]}.union(*(_decoder_kinds(part) for part in decoder.get("decoders", ())))


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's spelling of bytes: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_level_alphabet()


def _byte_level_bytes(piece: str) -> bytes:
    # A token outside the alphabet was added by hand and stands for its own text.
    return bytes(_BYTE_OF[char] for char in piece) if all(char in _BYTE_OF for char in piece) else piece.encode()


def _sentencepiece_bytes(piece: str) -> bytes:
    if match := _BYTE_PIECE.fullmatch(piece):
        return bytes([int(match[1], 16)])
    return piece.replace("\u2581", " ").encode()
