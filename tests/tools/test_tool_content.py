"""What tools return becomes text, and no more of it than there is room for."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.tools.content import as_text, cut, describe_binary, estimate_tokens


@dataclass
class Weather:
    city: str
    day: date


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (None, "(no result)"),
        ({"result": 14}, '{"result": 14}'),
        ([1, "ä"], '[1, "ä"]'),
        (True, "true"),
        (Weather("Rome", date(2026, 1, 2)), '{"city": "Rome", "day": "2026-01-02"}'),
        ({"path": Path("/a/b")}, '{"path": "/a/b"}'),
        (b"text", "text"),
        (b"\xff\xd8\xff\x00", "(binary data: a JPEG image, 4 bytes)"),
        ("half \ud800 pair", "half ? pair"),
        ("nul \0 byte", "(binary data: of unknown kind, 10 bytes)"),
    ],
)
def test_values(value, text):
    assert as_text(value) == text


def test_binary_by_its_kind():
    assert describe_binary(b"abc", "audio/wav") == "(binary data: audio/wav, 3 bytes)"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=3000), st.integers(50, 400), st.sampled_from([estimate_tokens, len, lambda t: len(t.split())]))
def test_a_cut_text_fits_and_keeps_its_ends(text, budget, count):
    result = cut(text, budget, count)
    assert count(result) <= budget
    if count(text) <= budget:
        assert result == text
    else:
        head, note, tail = result.partition("\n[... ")
        assert note
        assert text.startswith(head)
        assert text.endswith(tail.partition("...]\n")[2])
