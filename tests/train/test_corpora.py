"""Corpora are cleaned, written once, and never half written; a source that is missing is no obstacle."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fulmen.train import corpora
from fulmen.train.corpora import CorpusSource, SourceMissing, build_corpora, build_corpus, corpus_sources

LONG = "A sentence that is long enough to count as a paragraph, with some words to spare. " * 3


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FULMEN_HOME", str(tmp_path / "home"))


@pytest.fixture
def source(tmp_path):
    pages = tmp_path / "pages"
    (pages / "tests").mkdir(parents=True)
    (pages / "a.py").write_text(f'"""{LONG}\u201cquoted\u201d   \n\n\n{LONG}"""\n')
    (pages / "b.py").write_text(f'"""{LONG}\u201cquoted\u201d   \n\n{"Another paragraph. " * 20}"""\n')
    (pages / "c.py").write_text("x = 1\n")
    (pages / "d.py").write_text("\u0436" * 400)
    (pages / "tests" / "e.py").write_text(LONG)
    return CorpusSource(
        name="pages", title="Pages", licence="MIT", format="python", folder=str(pages), files=("**/*.py",),
        exclude=("tests/*",),
    )  # fmt: skip


def texts(file):
    return [json.loads(line)["text"] for line in file.read_text().splitlines()]


def test_cleaning(source, tmp_path):
    card = build_corpus(source, tmp_path / "out")
    first, second = texts(tmp_path / "out" / "pages.jsonl")  # c is short, d is no English, e is excluded
    assert first == f'"""{LONG}"quoted"\n\n{LONG}"""\n'
    assert second == "Another paragraph. " * 20 + '"""\n'  # its first paragraph was there already
    assert (card.documents, card.bytes) == (2, len(first) + len(second))


def test_card_tells_what_was_written(source, tmp_path):
    card = build_corpus(source, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "pages.json").read_text())
    assert facts["licence"] == "MIT"
    assert "pages of this machine" in facts["origin"]
    assert card.sha256 == facts["sha256"] == hashlib.sha256((tmp_path / "out/pages.jsonl").read_bytes()).hexdigest()


def test_a_corpus_is_made_once_and_mended_if_damaged(source, tmp_path):
    out = tmp_path / "out"
    done = []
    card = build_corpus(source, out, report=lambda name, fraction: done.append(fraction))
    assert (done[0], done[-1]) == (0, 1)
    done.clear()
    assert build_corpus(source, out, report=lambda name, fraction: done.append(fraction)) == card
    assert not done
    (out / "pages.jsonl").write_text("{}")
    assert build_corpus(source, out) == card
    assert len(texts(out / "pages.jsonl")) == 2


def test_half_of_a_card_is_made_anew(source, tmp_path):
    card = build_corpus(source, tmp_path)
    file = tmp_path / f"{source.name}.json"
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    assert build_corpus(source, tmp_path) == card
    assert file.read_text() == whole


def test_the_standard_library_is_on_any_machine(tmp_path):
    card = build_corpus(corpus_sources()["python_library"], tmp_path)
    assert card.bytes > 3_000_000
    assert re.search(r"Python 3\.\d+\.\d+", card.origin)


def test_every_source_is_described():
    for source in corpus_sources().values():
        assert all((source.title, source.licence, source.files)), source.name


def test_without_apt_the_others_go_on(source, tmp_path, monkeypatch):
    wordnet = corpus_sources()["wordnet"]
    monkeypatch.setattr(corpora, "corpus_sources", lambda: {"wordnet": wordnet, "pages": source})
    monkeypatch.setenv("PATH", "")
    with pytest.warns(UserWarning, match="corpus wordnet is left out: apt-get is not on this machine"):
        assert list(build_corpora(["wordnet", "pages"], tmp_path / "out")) == ["pages"]
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ValueError, match="no text could be had"):
        build_corpora(["wordnet"], tmp_path / "out")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="packages are Debian's")
def test_a_package_is_unpacked_and_named_in_the_card(tmp_path):
    root = tmp_path / "small"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: small\nVersion: 1.2-3\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: Small\n"
    )
    (root / "usr").mkdir()
    (root / "usr" / "page.py").write_text(LONG)
    packages = tmp_path / "home" / "packages"
    packages.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "--build", root, packages / "small_1.2-3_all.deb"], check=True, capture_output=True)
    small = CorpusSource(
        name="small", title="Small", licence="MIT", format="python", packages=("small",), files=("usr/*.py",)
    )
    assert build_corpus(small, tmp_path / "out").origin == "Debian package small 1.2-3"
    assert texts(tmp_path / "out" / "small.jsonl") == [LONG.rstrip() + "\n"]


def test_a_source_without_text_is_missing_and_leaves_nothing(source, tmp_path):
    empty = Path(source.folder) / "tests"
    shutil.rmtree(empty)
    empty.mkdir()
    nothing = CorpusSource(name="n", title="N", licence="MIT", format="python", folder=str(empty), files=("*.py",))
    with pytest.raises(SourceMissing, match="has no text"):
        build_corpus(nothing, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_wrong_description_is_refused():
    facts = {"name": "x", "title": "X", "licence": "MIT", "files": ("*",)}
    with pytest.raises(ValueError, match="format is 'docx'"):
        CorpusSource(**facts, format="docx", folder="stdlib")
    with pytest.raises(ValueError, match="packages or a folder"):
        CorpusSource(**facts, format="man")
    with pytest.raises(ValueError, match="'novels'"):
        build_corpora(["novels"], Path("/nowhere"))
