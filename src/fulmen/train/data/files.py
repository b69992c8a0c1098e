"""Files of documents and conversations to tokens, which are kept for the next run."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fulmen.chat.message import Message, ToolSpec, messages_from_openai, tools_from_openai
from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer
from fulmen.train.configuration import ChatData, TextData, TrainOn
from fulmen.train.data.reading import json_object, read_entries, text_of, warn_of
from fulmen.train.data.store import Document, TokenStore, open_store, write_store

_FORM = "1"  # raised when the same files become other tokens


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How text becomes tokens: a tokenizer, the chat template beside it, and what ends a document.

    Example: `Writing.load(Path("checkpoint")).document("Once upon a time")`.
    """

    tokenizer: Tokenizer
    template: ChatTemplate
    end_id: int
    """Ends a document: `<end_of_document>`, or the tokenizer's first end token if it has no such token."""
    key: str
    """A hash of the files that decide it."""

    @classmethod
    def load(cls, folder: Path) -> "Writing":
        """Read the tokenizer and the chat template of a folder; ValueError names what is missing."""
        tokenizer = Tokenizer.load(folder)
        ids = tokenizer.encode("<end_of_document>", allow_special=True)
        ends = ids if len(ids) == 1 else list(tokenizer.eos_token_ids)
        if not ends:
            raise ValueError(f"{folder} names no end token: give eos_token in its tokenizer_config.json")
        digest = hashlib.blake2b(digest_size=16)
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
            digest.update((folder / name).read_bytes() if (folder / name).is_file() else b"")
        return cls(tokenizer=tokenizer, template=ChatTemplate.load(folder), end_id=ends[0], key=digest.hexdigest())

    def document(self, text: str) -> Document:
        """A text between what begins and ends a document; all of it is trained, save the first token."""
        ids = (*self.tokenizer.encode(text, add_bos=True), self.end_id)
        return Document(ids=ids, trained=(False, *[True] * (len(ids) - 1)))

    def conversation(
        self,
        messages: tuple[Message, ...],
        tools: tuple[ToolSpec, ...],
        train_on: TrainOn,
        *,
        keep_thinking: bool = False,
    ) -> Document:
        """A conversation as the model sees it; `keep_thinking` as in `ChatTemplate.render`.

        Raises:
            ValueError: the template refuses it, or it has no reply to train on.
        """
        chat = self.template.render_ids(
            self.tokenizer, messages, tools, add_generation_prompt=False, keep_thinking=keep_thinking
        )
        if train_on == "all":
            return Document(ids=chat.ids, trained=(False, *[True] * (len(chat.ids) - 1)))
        if not any(chat.trained):
            raise ValueError("no message of the assistant can be trained on: the last one must be its reply")
        return Document(ids=chat.ids, trained=chat.trained)


def read_files(data: TextData | ChatData, writing: Writing, cache: Path) -> TokenStore:
    """The tokens of files: from the cache, or tokenised into it now.

    Raises:
        ValueError: with file and line, something is broken and `data.on_broken` says stop; or nothing is left.
    """
    files = _files_of(data)
    folder = cache / _key(data, files, writing)
    store = open_store(folder)
    if store is None:
        documents = read_entries(
            files, partial(_read, data, writing), on_broken=data.on_broken, to_skip='set on_broken = "skip"'
        )
        store = write_store(folder, documents, vocab_size=writing.tokenizer.vocab_size)
    if not len(store.ends):
        raise ValueError(f"{data.path} has nothing to train on")
    warn_of(data.path, store.skipped)
    return store


def _files_of(data: TextData | ChatData) -> list[Path]:
    if data.path.is_file():
        if isinstance(data, ChatData) and data.path.suffix != ".jsonl":
            raise ValueError(f"{data.path} is no .jsonl file: conversations are read from JSON lines, one in each")
        return [data.path]
    if not data.path.is_dir():
        raise ValueError(f"{data.path} does not exist: give a file or folder of data")
    pattern = "*.jsonl" if isinstance(data, ChatData) else "*"
    visible = (
        path
        for path in data.path.rglob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(data.path).parts)
    )
    files = sorted(path for path in visible if path.is_file())
    if not files:
        raise ValueError(f"{data.path} has no {'.jsonl files' if isinstance(data, ChatData) else 'files'}")
    return files


def _key(data: TextData | ChatData, files: list[Path], writing: Writing) -> str:
    """A hash of whatever decides the tokens: the contents and names of the files, how they are read and written."""
    train_on = data.train_on if isinstance(data, ChatData) else ""
    digest = hashlib.blake2b(repr((_FORM, data.kind, data.on_broken, train_on, writing.key)).encode(), digest_size=16)
    for path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, hashlib.blake2b).hexdigest()
        digest.update(f"{path.relative_to(data.path.parent)} {content}\n".encode())
    return digest.hexdigest()


def _read(data: TextData | ChatData, writing: Writing, content: bytes, is_json: bool) -> Document | None:
    """One document; None for an empty text."""
    if isinstance(data, ChatData):
        line = json_object(content)
        messages, tools = messages_from_openai(line.get("messages")), tools_from_openai(line.get("tools"))
        return writing.conversation(messages, tools, data.train_on)
    text = text_of(content, is_json)
    return writing.document(text) if text else None
