"""Documents are cut where paragraphs end, and every passage says where it stands."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.tools.passages import Passage, passages_of


def test_markdown_by_headings():
    text = "# Paris\n\nThe city.\n\n## History\nOld.\n```\n# no heading\n```\n# Rome\nEternal.\n"
    assert [(p.citation, p.heading) for p in passages_of("a.md", text)] == [
        ("a.md:1-3", "Paris"),
        ("a.md:5-9", "Paris > History"),
        ("a.md:10-11", "Rome"),
    ]


def test_source_has_no_headings():
    [passage] = passages_of("a.py", "# a comment\nx = 1\n")
    assert passage == Passage(path="a.py", first_line=1, last_line=2, heading="", text="# a comment\nx = 1")


def test_html_by_its_text_and_lines():
    page = """<html><head><title>T</title><style>p {}</style></head><body>
<h1>Paris &amp; more</h1>
<p>The city
of <b>light</b>.</p>
<script>alert("no text")</script>
<h2>List</h2><ul><li>one</li><li>two</li></ul>
<pre>a
  b</pre>
</body></html>"""
    first, second = passages_of("a.html", page)
    assert (first.citation, first.heading) == ("a.html:2-3", "Paris & more")
    assert first.text == "# Paris & more\n\nThe city of light."
    assert (second.citation, second.heading) == ("a.html:6-8", "Paris & more > List")
    assert second.text == "## List\none\ntwo\na\n  b"


def test_html_may_leave_its_head_open():
    [passage] = passages_of("a.html", "<!doctype html><head><title>T</title><body>\n<p>The city.\n<p>Its light.")
    assert (passage.citation, passage.text) == ("a.html:2-3", "The city.\n\nIts light.")


def test_one_endless_line_becomes_several_passages():
    words = " ".join(f"word{i}" for i in range(1000))
    passages = list(passages_of("a.txt", words))
    assert len(passages) > 5
    assert {p.citation for p in passages} == {"a.txt:1"}
    assert " ".join(p.text for p in passages) == words


@pytest.mark.parametrize("text", ["", "\n\n", "   \n"])
def test_nothing_to_find(text):
    assert list(passages_of("a.md", text)) == []
    assert list(passages_of("a.html", text)) == []


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.text("ab #`<p>&\t", max_size=60), max_size=80), st.sampled_from(["a.md", "a.py", "a.txt"]))
def test_every_line_is_in_one_passage_and_where_it_says(lines, path):
    lines = [line for line in "\n".join(lines).splitlines()]
    passages = list(passages_of(path, "\n".join(lines)))
    last = 0
    for passage in passages:
        assert last < passage.first_line <= passage.last_line
        stands = "\n".join(lines[passage.first_line - 1 : passage.last_line])
        assert passage.text.strip() == stands.strip()
        assert len(passage.text) <= 1100
        last = passage.last_line
    found = {number for p in passages for number in range(p.first_line, p.last_line + 1)}
    assert found >= {number for number, line in enumerate(lines, start=1) if line.strip()}
