"""Search in the documents of a folder: BM25 over passages, each with a citation that can be opened.

    folder -> files -> passages -> index (bm25s)   kept in the cache under the hash of what it was made of
    query -> best passages, numbered, as file:first_line-last_line

A search looks first whether a file has changed; passages of unchanged files are kept, the index is made anew.
"""

import hashlib
import logging
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field

from fulmen.catalog import home
from fulmen.tools.file_root import FileRoot, FoundFile
from fulmen.tools.files import read_file_tool
from fulmen.tools.function import tool_from_function
from fulmen.tools.passages import SUFFIXES, Passage, passages_of
from fulmen.tools.tool import Tool, ToolError

_log = logging.getLogger(__name__)
_FORMAT = "2"
"""Of the cache: another way of cutting or indexing needs another number."""
_MOST_BYTES = 4 << 20
_MOST_KEPT = 30
"""Indexes in the cache: each change of a folder makes another."""


class DocumentIndex:
    """The passages of a folder and how to find them. Safe to use from several threads.

    Example::

        index = DocumentIndex(FileRoot("handbook"))
        for passage in index.search("how long is the notice period", count=3):
            print(passage.citation, passage.text)
    """

    def __init__(self, root: FileRoot, *, cache: Path | None = None) -> None:
        """Prepare an index; it is made at the first search.

        Args:
            root: where the documents lie.
            cache: where indexes are kept; `indexes` in Fulmen's own folder when not given.
        """
        self._root = root
        self._cache = (home() / "indexes" if cache is None else cache).resolve()
        self._seen: tuple[FoundFile, ...] | None = None
        self._by_hash: dict[str, list[Passage]] = {}
        self._passages: list[Passage] = []
        self._bm25: Any = None
        self._lock = threading.Lock()

    def search(self, query: str, *, count: int) -> list[Passage]:
        """The passages that fit best, best first; none where no word of the query occurs."""
        import numpy as np

        with self._lock:
            self._refresh()
            if self._bm25 is None:
                return []
            [tokens] = _tokens([query])
            known = [token for token in tokens if token in self._bm25.vocab_dict]
            if not known:
                return []
            scores = self._bm25.get_scores(known)
            best = np.argsort(-scores, kind="stable")[:count]
            return [self._passages[index] for index in best if scores[index] > 0]

    @property
    def num_passages(self) -> int:
        """How many passages there are, as of the last search."""
        return len(self._passages)

    def _refresh(self) -> None:
        """Read what has changed since the last search, and make or open the index."""
        seen = tuple(
            file
            for file in self._root.walk()
            if PurePosixPath(file.path).suffix.lower() in SUFFIXES
            and file.size <= _MOST_BYTES
            and not (self._root.folder / file.path).is_relative_to(self._cache)
        )
        if seen == self._seen:
            return
        contents: list[tuple[str, str]] = []  # (path, hash)
        kept: dict[str, list[Passage]] = {}
        for file in seen:
            try:
                text = self._root.read_text(file.path)
            except ToolError:  # binary in spite of its name, or gone since
                continue
            key = hashlib.sha256(f"{file.path}\0{text}".encode(errors="replace")).hexdigest()
            kept[key] = self._by_hash.get(key) or list(passages_of(file.path, text))
            contents.append((file.path, key))
        self._by_hash = kept
        self._passages = [passage for _, key in contents for passage in kept[key]]
        self._bm25 = self._open_or_make(hashlib.sha256(repr((_FORMAT, contents)).encode()).hexdigest()[:32])
        self._seen = seen

    def _open_or_make(self, key: str) -> Any:
        import bm25s

        if not self._passages:
            return None
        folder = self._cache / key
        if folder.is_dir():
            try:
                return bm25s.BM25.load(folder, load_vocab=True)
            except (OSError, ValueError, KeyError, EOFError) as error:
                _log.warning("The index %s is damaged and made anew: %s", folder, error)
                shutil.rmtree(folder, ignore_errors=True)
        bm25 = bm25s.BM25(method="lucene")
        searched = [f"{PurePosixPath(p.path).stem} {p.heading}\n{p.text}" for p in self._passages]
        bm25.index(_tokens(searched), show_progress=False)
        _keep(bm25, folder)
        return bm25


def document_tools(index: DocumentIndex, root: FileRoot) -> tuple[Tool, ...]:
    """A tool that searches documents, and one that reads on where a passage was found."""

    def search_documents(query: str, count: Annotated[int, Field(ge=1, le=10)] = 3) -> str:
        """Search the documents. Cite what you use as [file:lines].

        Args:
            query: words that the passage should contain.
            count: how many passages to return.
        """
        found = index.search(query, count=count)
        if not found:
            return f"no passage has a word of {query!r:.200}; try other words"
        return "\n\n".join(passage.shown() for passage in found)

    return tool_from_function(search_documents), read_file_tool(root)


def _tokens(texts: Sequence[str]) -> list[list[str]]:
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    return bm25s.tokenize(
        list(texts), token_pattern=r"(?u)\w+", stopwords=None, stemmer=stemmer, return_ids=False, show_progress=False
    )


def _keep(bm25: Any, folder: Path) -> None:
    """Write an index beside and rename it, so that nobody ever sees half of one."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix="new-"))
        try:
            bm25.save(beside, show_progress=False)
            beside.rename(folder)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        kept = sorted(folder.parent.iterdir(), key=lambda one: one.stat().st_mtime_ns, reverse=True)
        for old in kept[_MOST_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        _log.warning("The index is not kept in %s: %s", folder, error)
