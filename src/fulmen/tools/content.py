"""What a tool returned, as text for a model: short, readable, never binary."""

import json
from collections.abc import Callable

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
    """
    if len(text) <= max_tokens * _MOST_LETTERS_PER_TOKEN:
        total = count(text)
        if total <= max_tokens:
            return text
        kept = len(text) * max_tokens // total
    else:
        kept = max_tokens * 4
    while kept > 0:
        tail = int(kept * _TAIL)
        note = f"\n[... {len(text) - kept} of {len(text)} characters are left out; ask for less ...]\n"
        shortened = text[: kept - tail] + note + text[len(text) - tail :]
        total = count(shortened)
        if total <= max_tokens:
            return shortened
        kept = min(kept * max_tokens // total, kept * 15 // 16)
    return f"[... {len(text)} characters are left out ...]"


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
