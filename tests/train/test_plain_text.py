"""Text to sequences: documents from files and from Python itself, held out and shuffled."""

import pytest
import torch

from fulmen.train.plain_text import PlainText, python_documentation, read_documents


def test_python_documents_itself() -> None:
    documents = python_documentation()
    assert sum(map(len, documents)) > 500_000
    assert any("truth value" in document.lower() for document in documents)
    assert all(document.strip() for document in documents)


def test_where_python_lies_does_not_matter(tmp_path, monkeypatch) -> None:
    library = tmp_path / "tests" / "lib"
    (library / "test").mkdir(parents=True)
    (library / "tool.py").write_text('"""What a tool is for."""\n')
    (library / "test" / "case.py").write_text('"""What a test is for."""\n')
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(library))
    documents = python_documentation()
    assert "What a tool is for." in documents
    assert "What a test is for." not in documents


def test_files_of_a_folder_are_read_in_order(tmp_path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.jsonl").write_text('{"text": "second"}\n\n{"text": "third", "id": 4}\n')
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "c.bin").write_bytes(b"\xff")
    assert read_documents(tmp_path) == ["first", "second", "third"]
    assert read_documents(tmp_path / "a.txt") == ["first"]


@pytest.mark.parametrize("line", ["{", '{"txt": "x"}', "[1]", '{"text": 3}', '{"text": "\\ud800"}'])
def test_a_broken_line_stops_or_is_left_out(tmp_path, line) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "good"}\n' + line)
    with pytest.raises(ValueError, match=r"x\.jsonl, line 2: .*\. Mend it, or give --on-broken skip"):
        read_documents(tmp_path)
    with pytest.warns(UserWarning, match=r"left out 1 broken lines or files: .*x\.jsonl, line 2"):
        assert read_documents(tmp_path, on_broken="skip") == ["good"]


def test_where_all_is_left_out_the_reasons_are_told(tmp_path) -> None:
    (tmp_path / "x.jsonl").write_text('{"txt": "x"}')
    with pytest.warns(UserWarning, match="line 1: text is missing"), pytest.raises(ValueError, match="holds no text"):
        read_documents(tmp_path, on_broken="skip")


def test_no_text_is_an_error(tmp_path) -> None:
    with pytest.raises(ValueError, match="holds no text"):
        read_documents(tmp_path)
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"x\.txt: byte 0 is no UTF-8"):
        read_documents(tmp_path)


def test_every_epoch_shows_each_sequence_once_and_never_a_held_out_one() -> None:
    text = PlainText(torch.arange(10 * 4 + 3), length=4, held_out=2, seed=0)
    assert text.held_out.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    firsts = [text.batch(number, 3)[:, 0].tolist() for number in range(8)]
    epochs = [first for batch in firsts for first in batch]
    for epoch in (epochs[:8], epochs[8:16], epochs[16:]):
        assert sorted(epoch) == list(range(8, 40, 4))
    assert len({tuple(epochs[i : i + 8]) for i in (0, 8, 16)}) == 3
    assert torch.equal(text.batch(5, 3), PlainText(torch.arange(43), length=4, held_out=2, seed=0).batch(5, 3))


def test_too_little_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="15 tokens; 16 are needed"):
        PlainText(torch.arange(15), length=4, held_out=2, seed=0)
