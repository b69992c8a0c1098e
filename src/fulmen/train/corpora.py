"""Text for pretraining from packages of this machine and of Debian: fetched, cleaned, kept with its licence.

`corpora.toml` lists the sources. Each becomes `NAME.jsonl` with a `{"text": ...}` on every line, and a card
`NAME.json` that says what it is. A source that can't be fetched (no apt, no network) is skipped with a warning.
"""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

from fulmen.catalog import home
from fulmen.train.corpus_formats import READERS

Report = Callable[[str, float], None]
"""Called with the name of a corpus and the fraction of it that is done."""

_MIN_CHARACTERS = 200
"""Shorter documents teach little but their beginning and end."""
_PLAIN = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": "...",
        "\u00a0": " ", "\u2022": "-", "\u00b7": "-", "\ufeff": "", "\u200b": "", "\f": "", "\r": "", "\ufffd": "",
    }
)  # fmt: skip


class SourceMissing(OSError):
    """A source of text can't be had here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class CorpusSource:
    """A source of text, as `corpora.toml` describes it.

    Example::

        CorpusSource(name="wordnet", title="WordNet 3.0", licence="WordNet-3.0", format="wordnet",
                     packages=("wordnet-base",), files=("usr/share/wordnet/data.*",))
    """

    name: str
    title: str
    licence: str
    format: str
    """A key of `corpus_formats.READERS`."""
    files: tuple[str, ...]
    """Patterns within the package or folder."""
    exclude: tuple[str, ...] = ()
    """Files whose path within the package or folder matches one of these are left out."""
    packages: tuple[str, ...] = ()
    """Debian packages; the first that apt knows is taken."""
    folder: str | None = None
    """A folder of this machine instead; `stdlib` is Python's standard library."""

    def __post_init__(self) -> None:
        if self.format not in READERS:
            raise ValueError(f"corpus {self.name}: format is {self.format!r}; known are {', '.join(READERS)}")
        if bool(self.packages) == (self.folder is not None):
            raise ValueError(f"corpus {self.name}: give either packages or a folder")


@dataclass(frozen=True, kw_only=True)
class CorpusCard:
    """What a corpus is and where it came from; `NAME.json` holds it.

    Example: `CorpusCard(name="wordnet", title="WordNet 3.0", licence="WordNet-3.0",
    origin="Debian package wordnet-base 1:3.0-37", documents=7355, bytes=9431220, sha256="41...")`.
    """

    name: str
    title: str
    licence: str
    origin: str
    """The package or folder, with its version."""
    documents: int
    bytes: int
    """Of text, in UTF-8."""
    sha256: str
    """Of the jsonl file."""


def corpus_sources() -> Mapping[str, CorpusSource]:
    """Every source that `corpora.toml` lists, by name."""
    facts = tomllib.loads(files("fulmen.train").joinpath("corpora.toml").read_text(encoding="utf-8"))
    return {name: _source(name, entry) for name, entry in facts.items()}


def _source(name: str, entry: Mapping[str, Any]) -> CorpusSource:
    facts: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return CorpusSource(name=name, **facts)


def build_corpora(
    names: Iterable[str], folder: Path, *, report: Report = lambda name, fraction: None
) -> dict[str, CorpusCard]:
    """Make the corpora of these names in `folder`, those that are there already excepted, and return their cards.

    Raises:
        ValueError: a name is unknown, or no source at all could be had.
    """
    sources = corpus_sources()
    wanted = list(names)
    for name in wanted:
        if name not in sources:
            raise ValueError(f"no corpus is called {name!r}. Known corpora: {', '.join(sources)}")
    cards = {}
    for name in wanted:
        try:
            cards[name] = build_corpus(sources[name], folder, report=report)
        except SourceMissing as error:
            warnings.warn(f"corpus {name} is left out: {error}", stacklevel=2)
    if wanted and not cards:
        raise ValueError("no text could be had from any source: see the warnings")
    return cards


def build_corpus(source: CorpusSource, folder: Path, *, report: Report = lambda name, fraction: None) -> CorpusCard:
    """Make one corpus in `folder`, unless its card is there and its file is what the card says.

    Raises:
        SourceMissing: the package can't be fetched, or has no text where it should.
    """
    text_file, card_file = folder / f"{source.name}.jsonl", folder / f"{source.name}.json"
    made = _read_card(card_file)
    if made is not None and text_file.is_file() and made.sha256 == _sha256(text_file):
        return made
    folder.mkdir(parents=True, exist_ok=True)
    temporary = text_file.with_suffix(".part")
    documents = size = 0
    with _opened(source) as (root, origin), temporary.open("w", encoding="utf-8") as file:
        for text in _cleaned(_texts(source, root, report)):
            file.write(json.dumps({"text": text}) + "\n")
            documents, size = documents + 1, size + len(text.encode())
    if not documents:
        temporary.unlink()
        raise SourceMissing(f"{origin} has no text at {', '.join(source.files)}")
    temporary.replace(text_file)
    card = CorpusCard(
        name=source.name,
        title=source.title,
        licence=source.licence,
        origin=origin,
        documents=documents,
        bytes=size,
        sha256=_sha256(text_file),
    )
    card_file.write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    return card


def _read_card(file: Path) -> CorpusCard | None:
    """A card; None if there is none, or half of one that a kill left."""
    try:
        return CorpusCard(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _texts(source: CorpusSource, root: Path, report: Report) -> Iterator[str]:
    found = {path for pattern in source.files for path in root.glob(pattern) if path.is_file()}
    relative = {path.relative_to(root).as_posix(): path for path in found}
    kept = [relative[name] for name in sorted(relative) if not any(fnmatch(name, bad) for bad in source.exclude)]
    for index, path in enumerate(kept):
        report(source.name, index / len(kept))
        yield from READERS[source.format](path)
    report(source.name, 1.0)


def _cleaned(texts: Iterable[str]) -> Iterator[str]:
    """Plain characters, no paragraph twice, no document that is short or mostly not English."""
    seen: set[int] = set()
    for text in texts:
        paragraphs = []
        for paragraph in re.split(r"\n(?:[ \t]*\n)+", text.translate(_PLAIN)):
            key = hash(paragraph.strip())
            if len(paragraph) < 60 or key not in seen:
                paragraphs.append("\n".join(line.rstrip() for line in paragraph.split("\n")))
            seen.add(key)
        clean = "\n\n".join(part for part in paragraphs if part.strip()).strip("\n") + "\n"
        strange = sum(not char.isascii() for char in clean)
        if len(clean) >= _MIN_CHARACTERS and strange <= 0.02 * len(clean):
            yield clean


@contextmanager
def _opened(source: CorpusSource) -> Iterator[tuple[Path, str]]:
    """The folder with the source's files, and what to call it; an unpacked package lasts as long as the context."""
    if source.folder == "stdlib":
        yield Path(sysconfig.get_paths()["stdlib"]), f"the standard library of Python {platform.python_version()}"
    elif source.folder is not None:
        if not Path(source.folder).is_dir():
            raise SourceMissing(f"this machine has no {source.folder}")
        yield Path(source.folder), f"{source.folder} of this machine"
    else:
        package = _package(source.packages, home() / "packages")
        with tempfile.TemporaryDirectory(prefix="fulmen-corpus-") as folder:
            _run(["dpkg-deb", "--extract", str(package), folder])
            name, version = (_run(["dpkg-deb", "--field", str(package), field]) for field in ("Package", "Version"))
            yield Path(folder), f"Debian package {name} {version}"


def _package(names: Iterable[str], folder: Path) -> Path:
    """The file of the first of these packages that is in `folder` or that apt can download into it."""
    folder.mkdir(parents=True, exist_ok=True)
    reason = ""
    for name in names:
        if here := sorted(folder.glob(f"{name}_*.deb")):
            return here[-1]
        try:
            # In a folder of its own: an interrupted download is never taken for a package.
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                _run(["apt-get", "download", name], cwd=scratch)
                [file] = Path(scratch).glob("*.deb")
                return Path(shutil.move(file, folder))
        except SourceMissing as error:
            reason = reason or str(error)
    raise SourceMissing(reason)


def _run(command: list[str], cwd: str | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, timeout=600)
    except FileNotFoundError as error:
        raise SourceMissing(f"{command[0]} is not on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise SourceMissing(f"`{' '.join(command)}` took more than ten minutes") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise SourceMissing(f"`{' '.join(command)}` failed: {lines[-1]}") from error
    return done.stdout.strip()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
