"""Listing, reading, searching, writing and editing, as a model calls them."""

import pytest
from calling import answer

from fulmen.tools.file_root import FileRoot
from fulmen.tools.files import file_tools
from fulmen.tools.registry import ToolRegistry


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text("import os\n\ndef main():\n    print('hi')\n")
    (tmp_path / "notes.md").write_text("".join(f"line {i}\n" for i in range(1, 501)))
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")
    return tmp_path


@pytest.fixture
def registry(folder):
    return ToolRegistry(file_tools(FileRoot(folder), writable=True))


def test_only_what_writes_is_dangerous(folder, registry):
    dangerous = {name for name in registry.names if registry.is_dangerous(name)}
    assert dangerous == {"write_file", "edit_file"}
    assert ToolRegistry(file_tools(FileRoot(folder))).names == ("list_files", "read_file", "search_files")


def test_listing(registry):
    assert answer(registry, "list_files").content == (
        "image.png (5 bytes)\nnotes.md (4392 bytes)\nsrc/main.py (39 bytes)"
    )  # fmt: skip
    assert answer(registry, "list_files", {"pattern": "*.py"}).content == "src/main.py (39 bytes)"
    assert answer(registry, "list_files", {"folder": "src", "pattern": "*.c"}).content == "no file matches *.c"
    assert "leads out" in answer(registry, "list_files", {"folder": "../.."}).content


def test_reading(registry):
    lines = answer(registry, "read_file", {"path": "notes.md", "first_line": 499}).content
    assert lines == "line 499\nline 500"
    lines = answer(registry, "read_file", {"path": "notes.md", "first_line": 2, "num_lines": 2}).content
    assert lines == "line 2\nline 3\n(lines 2 to 3 of 500)"
    assert "has 500 lines" in answer(registry, "read_file", {"path": "notes.md", "first_line": 501}).content
    assert "a PNG image" in answer(registry, "read_file", {"path": "image.png"}).content
    assert answer(registry, "read_file", {"path": "notes.md", "num_lines": 0}).failed


def test_searching(registry):
    assert answer(registry, "search_files", {"pattern": r"def \w+"}).content == "src/main.py:3: def main():"
    found = answer(registry, "search_files", {"pattern": "LINE 49[89]", "files": "*.md", "ignore_case": True}).content
    assert found == "notes.md:498: line 498\nnotes.md:499: line 499"
    many = answer(registry, "search_files", {"pattern": "line"}).content
    assert many.count("\n") == 100
    assert many.endswith("make the pattern narrower")
    assert "nothing matches" in answer(registry, "search_files", {"pattern": "absent"}).content
    assert "no regular expression" in answer(registry, "search_files", {"pattern": "("}).content


def test_a_pattern_without_end_is_stopped(folder, registry, monkeypatch):
    monkeypatch.setattr("fulmen.tools.files._PATTERN_SECONDS", 0.05)
    (folder / "long.txt").write_text("a" * 5000 + "!\n")
    result = answer(registry, "search_files", {"pattern": "(a|aa)+$", "files": "long.txt"})
    assert "takes too long" in result.content


def test_writing_and_editing(folder, registry):
    assert answer(registry, "write_file", {"path": "new/a.txt", "content": "one\ntwo\n"}).content == (
        "new/a.txt is written, 2 lines"
    )  # fmt: skip
    assert "there already" in answer(registry, "write_file", {"path": "new/a.txt", "content": ""}).content
    edited = answer(registry, "edit_file", {"path": "new/a.txt", "old": "two", "new": "2"})
    assert edited.content == "new/a.txt is changed at line 2"
    assert (folder / "new/a.txt").read_text() == "one\n2\n"


def test_an_edit_keeps_the_line_ends_of_a_file_from_windows(folder, registry):
    (folder / "windows.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    edited = answer(registry, "edit_file", {"path": "windows.txt", "old": "one\ntwo", "new": "1\n2"})
    assert edited.content == "windows.txt is changed at line 1"
    assert (folder / "windows.txt").read_bytes() == b"1\r\n2\r\nthree\r\n"


@pytest.mark.parametrize(("old", "words"), [("absent", "0 times"), ("line 1", "111 times"), ("", "arguments.old")])
def test_edits_that_are_not_clear_change_nothing(folder, registry, old, words):
    before = (folder / "notes.md").read_text()
    result = answer(registry, "edit_file", {"path": "notes.md", "old": old, "new": "x"})
    assert result.failed
    assert words in result.content
    assert (folder / "notes.md").read_text() == before
