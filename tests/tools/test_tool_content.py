"""What tools return becomes text, and no more of it than there is room for."""

import json
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


def test_cut_json_stays_json_with_the_ends_of_its_long_texts():
    hits = [
        {"url": f"http://{index}", "text": f"start {index} " + "x" * 15_000 + f" end {index}"} for index in range(5)
    ]
    result = cut(json.dumps({"results": hits}, indent=2), 4000)
    assert 3900 < estimate_tokens(result) <= 4000
    for index, hit in enumerate(json.loads(result)["results"]):
        assert hit["url"] == f"http://{index}"
        assert hit["text"].startswith(f"start {index} ")
        assert hit["text"].endswith(f" end {index}")
        assert "characters are left out; ask for less" in hit["text"]


def test_cut_json_with_too_many_items_keeps_the_first_ones():
    hits = [{"url": f"http://{index}", "text": "a few words"} for index in range(2000)]
    *kept, note = json.loads(cut(json.dumps(hits), 1000))
    assert kept == hits[: len(kept)]
    assert len(kept) > 40
    assert note == f"[... {2000 - len(kept)} of 2000 items are left out; ask for less ...]"


@pytest.mark.parametrize("text", [json.dumps({str(n): n for n in range(2000)}), "[" * 5000, '"' + "x" * 5000 + '"'])
def test_what_can_not_stay_json_is_cut_as_text(text):
    assert " characters are left out; ask for less ...]\n" in cut(text, 400)
    assert estimate_tokens(cut(text, 400)) <= 400
