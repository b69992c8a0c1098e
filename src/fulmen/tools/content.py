"""What a tool returned, as text for a model: short, readable, never binary."""

import json
import sys
from collections.abc import Callable
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

CountTokens = Callable[[str], int]
"""Length of a text in tokens, as `lambda text: len(tokenizer.encode(text))`."""

_MAGIC = {
    b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"GIF8": "a GIF image", b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "gzip data", b"\x7fELF": "a program", b"RIFF": "a RIFF file",
    b"SQLite format 3": "an SQLite database", b"OggS": "Ogg media", b"BZh": "bzip2 data", b"\xfd7zXZ": "xz data",
}  # fmt: skip
_MOST_LETTERS_PER_TOKEN = 64
_TAIL = 0.25
_FEW_LETTERS = 200
"""Texts in JSON are not shortened to less: lists are, then."""
_NOTE_LETTERS = 80
"""What the note about left-out letters takes: a text that is longer by no more than this stays whole."""


def as_text(value: object) -> str:
    """Write down what a tool returned: text as it is, other values as JSON, bytes as a description.

    Example: `as_text({"result": 42})` is '{"result": 42}', `as_text(None)` is "(no result)".
    """
    if value is None:
        return "(no result)"
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_as_text(bytes(value))
    if isinstance(value, str):
        if "\0" in value:
            return describe_binary(value.encode(errors="replace"))
        return value.encode(errors="replace").decode()  # half of a surrogate pair can't be encoded
    return json.dumps(value, ensure_ascii=False, default=_plain).encode(errors="replace").decode()


def describe_binary(data: bytes, kind: str = "") -> str:
    """Say what binary data is instead of showing it, as in "(binary data: a PNG image, 2048 bytes)"."""
    found = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), "")
    return f"(binary data: {kind or found or 'of unknown kind'}, {len(data)} bytes)"


def estimate_tokens(text: str) -> int:
    """Tokens of a text when the model's vocabulary is not at hand: three bytes each, which is rather too many."""
    return -(-len(text.encode()) // 3)


def cut(text: str, max_tokens: int, count: CountTokens = estimate_tokens) -> str:
    """Shorten a text to a number of tokens: its beginning, what was left out, and its end, three parts to one.

    Example: a listing of 5,000 lines becomes its first hundreds, "[... 120034 of 131072 characters are left out ...]",
    and its last ones.

    JSON stays JSON where that is possible: its long texts are shortened, and then its long lists.
    """
    if len(text) <= max_tokens * _MOST_LETTERS_PER_TOKEN:
        total = count(text)
        if total <= max_tokens:
            return text
        kept = len(text) * max_tokens // total
    else:
        kept = max_tokens * 4
    if (shortened := _cut_json(text, max_tokens, count)) is not None:
        return shortened
    while kept > 0:
        tail = int(kept * _TAIL)
        note = f"\n[... {len(text) - kept} of {len(text)} characters are left out; ask for less ...]\n"
        shortened = text[: kept - tail] + note + text[len(text) - tail :]
        total = count(shortened)
        if total <= max_tokens:
            return shortened
        kept = min(kept * max_tokens // total, kept * 15 // 16)
    return f"[... {len(text)} characters are left out ...]"


def _cut_json(text: str, max_tokens: int, count: CountTokens) -> str | None:
    """As much of each long text in JSON as there is room for, or of each list if there are too many short ones."""

    def fitting(letters: int, items: int) -> str | None:
        result = as_text(_shortened(value, letters, items))
        return result if len(result) <= max_tokens * _MOST_LETTERS_PER_TOKEN and count(result) <= max_tokens else None

    def largest(low: int, high: int, attempt: Callable[[int], str | None]) -> str | None:
        best = attempt(low)
        while best is not None and low < high:
            middle = (low + high + 1) // 2
            if (result := attempt(middle)) is None:
                high = middle - 1
            else:
                best, low = result, middle
        return best

    try:
        value = json.loads(text)
        if not isinstance(value, dict | list):
            return None
        return largest(
            _FEW_LETTERS, max_tokens * _MOST_LETTERS_PER_TOKEN, lambda n: fitting(n, sys.maxsize)
        ) or largest(1, max_tokens, lambda n: fitting(_FEW_LETTERS, n))
    except (ValueError, RecursionError):
        return None


def _shortened(value: Any, letters: int, items: int) -> Any:
    if isinstance(value, str) and len(value) > letters + _NOTE_LETTERS:
        tail = int(letters * _TAIL)
        note = f" [... {len(value) - letters} of {len(value)} characters are left out; ask for less ...] "
        return value[: letters - tail] + note + value[len(value) - tail :]
    if isinstance(value, dict):
        return {key: _shortened(child, letters, items) for key, child in value.items()}
    if isinstance(value, list):
        kept = [_shortened(child, letters, items) for child in value[:items]]
        left_out = len(value) - len(kept)
        return kept + [f"[... {left_out} of {len(value)} items are left out; ask for less ...]"] * (left_out > 0)
    return value


def _bytes_as_text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return describe_binary(data)
    return describe_binary(data) if "\0" in text else text


def _plain(value: object) -> object:
    """JSON of what `json` doesn't know: dataclasses, pydantic's models, dates, paths, sets."""
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_as_text(bytes(value))
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        return f"({type(value).__name__})"
