"""Files entry by entry, with the file and line of whatever is broken, which stops the reading or is left out."""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fulmen.train.configuration import OnBroken

T = TypeVar("T")

_NAMED = 3  # complaints that a warning quotes


class Complaint(str):
    """What is wrong with a line or file that was left out, and where."""


def read_entries(
    files: Iterable[Path], read: Callable[[bytes, bool], T | None], *, on_broken: OnBroken, to_skip: str
) -> Iterator[T | Complaint]:
    """Every entry of files: a line of a `.jsonl` file that is not blank, or the whole of another.

    Args:
        files: read one after the other.
        read: makes an entry of bytes and whether they are JSON; None if it is empty, ValueError if it is broken.
        on_broken: what becomes of a broken one.
        to_skip: says how a user has them skipped.

    Raises:
        ValueError: with file and line, something is broken and `on_broken` says stop.
    """
    for path in files:
        for where, content in _contents(path):
            try:
                entry = read(content, path.suffix == ".jsonl")
            except (ValueError, RecursionError) as error:
                if on_broken == "stop":
                    raise ValueError(f"{where}: {error}. Mend it, or {to_skip}") from error
                yield Complaint(f"{where}: {error}")
            else:
                if entry is not None:
                    yield entry


def warn_of(path: Path, complaints: Sequence[str]) -> None:
    """Say how many entries of a file or folder were left out, if any, and why the first ones."""
    if complaints:
        examples = "; ".join(complaints[:_NAMED]) + ("; ..." if len(complaints) > _NAMED else "")
        warnings.warn(f"{path}: left out {len(complaints)} broken lines or files: {examples}", stacklevel=3)


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object of a line; ValueError if it is none."""
    line = json.loads(_decoded(content))
    if not isinstance(line, dict):
        raise ValueError("the line must be a JSON object")
    return line


def text_of(content: bytes, is_json: bool) -> str:
    """The `text` of a line of JSON, or a whole file's; ValueError if there is none that tokens can be made of."""
    if not is_json:
        return _decoded(content)
    line = json_object(content)
    text = line.get("text")
    if not isinstance(text, str):
        raise ValueError("text must be a string" if "text" in line else "text is missing")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the text has an unpaired surrogate at character {error.start}") from None
    return text


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of a `.jsonl` file, blank ones left out, or the whole of another; each with a name of its place."""
    if path.suffix != ".jsonl":
        yield str(path), path.read_bytes()
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"{path}, line {number}", line


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no UTF-8") from error
