"""Search finds the passage, cites it, and follows what changes; the index is kept under what it was made of."""

import logging
import threading

import pytest
from calling import answer

from fulmen.tools.documents import DocumentIndex, document_tools
from fulmen.tools.file_root import FileRoot
from fulmen.tools.registry import ToolRegistry

PARIS = "# Paris\n\nParis is the capital of France.\n\n# Rome\n\nRome is the capital of Italy. Emperors lived there.\n"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "cities.md").write_text(PARIS)
    (folder / "kitchen.txt").write_text("Bake the bread for forty minutes.\n")
    (folder / "image.png").write_bytes(b"\x89PNG\xff capital")
    return folder


@pytest.fixture
def index(folder, tmp_path):
    return DocumentIndex(FileRoot(folder), cache=tmp_path / "cache")


def citations(index, query, count=3):
    return [passage.citation for passage in index.search(query, count=count)]


def test_the_best_passage_comes_first(index):
    assert citations(index, "Who lived in Rome?") == ["cities.md:5-7", "cities.md:1-3"][:1]
    assert citations(index, "the capital of France")[0] == "cities.md:1-3"
    assert citations(index, "baking breads")[0] == "kitchen.txt:1"
    assert citations(index, "zeppelin") == []
    assert citations(index, "?!") == []
    assert len(citations(index, "capital", count=1)) == 1
    assert index.num_passages == 3


def test_changes_are_seen(index, folder):
    assert citations(index, "zeppelin") == []
    (folder / "air.md").write_text("A zeppelin flies.")
    assert citations(index, "zeppelin") == ["air.md:1"]
    (folder / "cities.md").write_text("Nothing of interest.")
    assert citations(index, "emperors") == []
    for file in folder.iterdir():
        file.unlink()
    assert citations(index, "zeppelin") == []


def test_an_index_is_kept_and_found_again(index, folder, tmp_path, monkeypatch):
    import bm25s

    found = citations(index, "emperors of Italy")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(bm25s.BM25, "index", None)  # made anew, it would fail
    again = DocumentIndex(FileRoot(folder), cache=tmp_path / "cache")
    assert citations(again, "emperors of Italy") == found


def test_a_cache_among_the_documents_is_none_of_them(folder):
    index = DocumentIndex(FileRoot(folder), cache=folder / "cache")
    for _ in range(2):
        assert citations(index, "emperors of Italy")
        assert index.num_passages == 3
    assert len(list((folder / "cache").iterdir())) == 1


def test_old_indexes_are_given_up(index, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("fulmen.tools.documents._MOST_KEPT", 2)
    for number in range(4):
        (folder / "kitchen.txt").write_text(f"Bake the bread for {number} minutes.\n")
        assert citations(index, "bread")
    kept = set((tmp_path / "cache").iterdir())
    assert len(kept) == 2
    assert citations(DocumentIndex(FileRoot(folder), cache=tmp_path / "cache"), "bread")
    assert set((tmp_path / "cache").iterdir()) == kept


@pytest.mark.parametrize(("name", "content"), [("params.index.json", "{"), ("data.csc.index.npy", "")])
def test_a_damaged_index_is_made_anew(index, folder, tmp_path, caplog, name, content):
    found = citations(index, "emperors of Italy")
    [kept] = (tmp_path / "cache").iterdir()
    assert (kept / name).exists()
    (kept / name).write_text(content)
    again = DocumentIndex(FileRoot(folder), cache=tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        assert citations(again, "emperors of Italy") == found
    assert "damaged" in caplog.text


def test_without_a_place_for_the_index(folder, tmp_path):
    (tmp_path / "file").write_text("")
    assert citations(DocumentIndex(FileRoot(folder), cache=tmp_path / "file" / "cache"), "emperors")


def test_several_threads_search_at_once(index):
    results = []
    threads = [threading.Thread(target=lambda: results.append(citations(index, "emperors"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [["cities.md:5-7"]] * 8


def test_as_tools(index, folder):
    registry = ToolRegistry(document_tools(index, FileRoot(folder)))
    assert registry.names == ("search_documents", "read_file")
    found = answer(registry, "search_documents", {"query": "capital of France", "count": 1}).content
    assert found == "[cities.md:1-3] (Paris)\n# Paris\n\nParis is the capital of France."
    assert "no passage has a word of 'zeppelin'" in answer(registry, "search_documents", {"query": "zeppelin"}).content
    assert answer(registry, "read_file", {"path": "cities.md", "first_line": 7}).content.startswith("Rome is")
    assert "leads out" in answer(registry, "read_file", {"path": "../secret"}).content
