"""Trains a vocabulary: byte-level BPE with MiniMax-M1's control tokens, for a small model of its own.

Four choices help a small model. Each digit is a token, so that numbers are columns of digits and not a table of
pieces. A word has the same tokens wherever it stands, after a space, a quote or an underscore, as spaces and signs are
tokens of their own: what is copied from a request into an argument is copied token by token. The tags of a reply
(`<think>` and the others) are one token each, where MiniMax-M1 spells them out; they are text to the parser all the
same. And the vocabulary is learned from the text between the control tokens only, so that no merge is spent on spelling
them.
"""

import json
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers

from fulmen.chat.reply_format import CALLS_CLOSE, CALLS_OPEN, THINK_CLOSE, THINK_OPEN

DOCUMENT_BEGIN, DOCUMENT_END = "<begin_of_document>", "<end_of_document>"
SENTENCE_BEGIN, SENTENCE_END = "<beginning_of_sentence>", "<end_of_sentence>"
_CONTROL = (DOCUMENT_BEGIN, DOCUMENT_END, SENTENCE_BEGIN, SENTENCE_END)
_TAGS = (THINK_OPEN, THINK_CLOSE, CALLS_OPEN, CALLS_CLOSE)
_ADDED = re.compile("|".join(map(re.escape, (*_CONTROL, *_TAGS))))
# A word; one digit; signs with line breaks after; white space.
_PIECES = Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def train_tokenizer(texts: Iterable[str], folder: Path, *, vocab_size: int) -> None:
    """Learn a vocabulary and write it as a checkpoint folder holds it: `Tokenizer.load(folder)` reads it.

    Any text comes back from its ids as it was, as every byte is a token. The same texts give the same files.

    Args:
        texts: what to learn from; read once.
        folder: gets `tokenizer.json`, `tokenizer_config.json` with MiniMax-M1's template, `generation_config.json`.
        vocab_size: tokens in all, the 256 bytes and the 8 control tokens and tags included.

    Raises:
        ValueError: `vocab_size` has no room for these, or more than the texts have pieces for.
    """
    num_added = len(_CONTROL) + len(_TAGS)
    smallest = 256 + num_added
    if vocab_size < smallest:
        raise ValueError(f"vocab_size is {vocab_size}; bytes, control tokens and tags alone are {smallest}")
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PIECES, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - num_added,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_between_added_tokens(texts), trainer)
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _CONTROL])
    backend.add_tokens([AddedToken(text, special=False, normalized=False) for text in _TAGS])
    if backend.get_vocab_size() < vocab_size:
        raise ValueError(
            f"the texts have pieces for a vocabulary of {backend.get_vocab_size()} tokens only; lower vocab_size, "
            f"which is {vocab_size}, or give more text"
        )
    backend.post_processor = processors.TemplateProcessing(
        single=f"{DOCUMENT_BEGIN} $A", special_tokens=[(DOCUMENT_BEGIN, backend.token_to_id(DOCUMENT_BEGIN))]
    )
    _write(backend, folder)


def _between_added_tokens(texts: Iterable[str]) -> Iterator[str]:
    return (piece for text in texts for piece in _ADDED.split(text) if piece)


def _write(backend: tokenizers.Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    template = files("fulmen.chat").joinpath("minimax_m1.jinja").read_text(encoding="utf-8")
    # The names are those of MiniMax-M1's own file, whose end of a document stands for the unknown token too.
    config: dict[str, Any] = {
        "bos_token": SENTENCE_BEGIN,
        "eos_token": SENTENCE_END,
        "unk_token": DOCUMENT_END,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": template,
    }
    ends = [backend.token_to_id(SENTENCE_END), backend.token_to_id(DOCUMENT_END)]
    for name, content in (("tokenizer_config.json", config), ("generation_config.json", {"eos_token_id": ends})):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
