"""Reading back what an adversary has left, and keeping the ends of a stream."""

import os
import random
from pathlib import Path

import pytest

from fulmen.tools.sandbox.job import OutputCollector
from fulmen.tools.sandbox.workspace import MAX_DEPTH, read_files, write_files


@pytest.fixture
def folder(tmp_path: Path) -> int:
    """A descriptor of a working folder beside a secret."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "work").mkdir()
    return os.open(tmp_path / "work", os.O_RDONLY | os.O_DIRECTORY)


def test_round_trip(folder: int) -> None:
    files = {"a": b"1", "b/c/d": b"", "b/e": bytes(1000)}
    write_files(folder, files, None)
    assert read_files(folder, ["."], 10_000).files == files
    assert read_files(folder, ["b/c", "a"], 10_000).files == {"a": b"1", "b/c/d": b""}


def test_links_are_not_followed_at_any_step(folder: int) -> None:
    os.symlink("../secret", "file", dir_fd=folder)
    os.symlink("..", "up", dir_fd=folder)
    collected = read_files(folder, ["file", "up/secret", "."], 10_000)
    assert collected.files == {}
    assert collected.left_out == {"file": "it is a link", "up": "it is a link"}


def test_files_are_not_written_through_links(folder: int, tmp_path: Path) -> None:
    os.symlink("..", "up", dir_fd=folder)
    with pytest.raises(ValueError, match="'up/secret' could not be put"):
        write_files(folder, {"up/secret": b"changed"}, None)
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_pipe_does_not_block(folder: int) -> None:
    os.mkfifo("pipe", dir_fd=folder)
    assert read_files(folder, ["pipe"], 10).left_out == {"pipe": "it is neither a file nor a folder"}


def test_only_so_much_is_read(folder: int) -> None:
    write_files(folder, {"a": bytes(6), "b": bytes(6), "c": bytes(4)}, None)
    collected = read_files(folder, ["."], 10)
    assert set(collected.files) == {"a", "c"}
    assert collected.left_out == {"b": "its 6 bytes are more than may still be returned"}


def test_deep_folders_end_somewhere(folder: int) -> None:
    os.makedirs(f"/proc/self/fd/{folder}/" + "d/" * 100)
    (path,) = read_files(folder, ["."], 10).left_out
    assert path.count("d") == MAX_DEPTH


def test_names_that_are_no_text(folder: int) -> None:
    os.close(os.open(b"\xff", os.O_CREAT, dir_fd=folder))
    assert read_files(folder, ["."], 10).left_out == {"\ufffd": "its name is not UTF-8"}


@pytest.mark.parametrize("seed", range(50))
def test_a_stream_keeps_its_ends(seed: int) -> None:
    draw = random.Random(seed)
    limit, pieces = draw.randint(1, 60), [draw.randbytes(draw.randint(0, 20)) for _ in range(draw.randint(0, 10))]
    collector, whole = OutputCollector(limit), b"".join(pieces)
    for piece in pieces:
        collector.add(piece)
    captured = collector.captured()
    assert len(captured.head) + len(captured.tail) == min(limit, len(whole))
    assert captured.dropped == max(0, len(whole) - limit)
    assert whole.startswith(captured.head)
    assert whole.endswith(captured.tail)
    if not captured.dropped:
        assert captured.head + captured.tail == whole
