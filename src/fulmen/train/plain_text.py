"""Plain text for distillation: documents from files, or the documentation inside Python, cut into equal sequences."""

import ast
import random
import sysconfig
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fulmen.chat.tokenizer import Tokenizer
from fulmen.train.configuration import OnBroken
from fulmen.train.data.reading import Complaint, read_entries, text_of, warn_of

_NOT_DOCUMENTATION = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages"}


def python_documentation() -> list[str]:
    """The language reference that `help()` shows, by topic, and the docstrings of the standard library, by module."""
    from pydoc_data.topics import topics

    folder = Path(sysconfig.get_path("stdlib"))
    every = sorted(folder.rglob("*.py"))
    files = (file for file in every if not _NOT_DOCUMENTATION & set(file.relative_to(folder).parts))
    texts = [*topics.values(), *("\n\n".join(_docstrings(file)) for file in files)]
    return [text for text in texts if text.strip()]


def _docstrings(file: Path) -> Iterator[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, documented) and (text := ast.get_docstring(node)):
            yield text


def read_documents(path: Path, *, on_broken: OnBroken = "stop") -> list[str]:
    """The documents of a file or of all files below a folder: a .txt is one, a .jsonl has one in each line's `text`.

    Broken lines and files stop the reading, or are counted in a warning.

    Raises:
        ValueError: there are none, or a line is broken; the message names the file and the line.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    texts = [file for file in files if file.suffix in (".txt", ".jsonl")]
    entries = list(read_entries(texts, text_of, on_broken=on_broken, to_skip="give --on-broken skip"))
    documents = [entry for entry in entries if not isinstance(entry, Complaint) and entry.strip()]
    warn_of(path, [entry for entry in entries if isinstance(entry, Complaint)])
    if not documents:
        raise ValueError(f"{path} holds no text: it must be a .txt or .jsonl file, or a folder of such files")
    return documents


class PlainText:
    """Documents as sequences of one length: some held out to measure on, the others in a random order without end.

    Which sequences a batch holds depends on its number alone, so a run continues from a number.

    Example: `PlainText(tensor_of_ids, length=512, held_out=8, seed=0).batch(17, 2)` is int64 [2, 512].
    """

    def __init__(self, token_ids: Tensor, *, length: int, held_out: int, seed: int) -> None:
        sequences = token_ids[: len(token_ids) // length * length].view(-1, length)
        if len(sequences) < 2 * held_out:
            raise ValueError(
                f"the text has {len(token_ids)} tokens; {2 * held_out * length} are needed at least to hold out "
                f"{held_out} sequences of {length} and train on others: give more of it"
            )
        self.held_out, self._sequences = sequences[:held_out], sequences[held_out:]
        self._seed = seed
        self.checksum = zlib.crc32(sequences.numpy().tobytes())

    @classmethod
    def encode(
        cls, documents: Sequence[str], tokenizer: Tokenizer, *, length: int, held_out: int, seed: int
    ) -> "PlainText":
        """Shuffle documents and write them one behind the other, each ended by the first of the end tokens."""
        ids: list[int] = []
        for document in random.Random(seed).sample(documents, len(documents)):
            ids += [*tokenizer.encode(document), *tokenizer.eos_token_ids[:1]]
        return cls(torch.tensor(ids), length=length, held_out=held_out, seed=seed)

    def batch(self, number: int, size: int) -> Tensor:
        """Batch `number` (from 0) of `size` sequences, int64 [size, length]; every epoch has an order of its own."""
        count = len(self._sequences)
        places = [divmod(i, count) for i in range(number * size, (number + 1) * size)]
        return torch.stack([self._sequences[self._order(epoch)[i]] for epoch, i in places])

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        return torch.randperm(len(self._sequences), generator=generator)
