"""No way out of the folder, nothing opened but ordinary files, and writes that are whole or not at all."""

import os
import socket
import stat

import pytest

from fulmen.tools.file_root import MAX_FILE_BYTES, FileRoot
from fulmen.tools.tool import ToolError


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def root(tmp_path, outside):
    folder = tmp_path / "root"
    (folder / "notes").mkdir(parents=True)
    (folder / "notes" / "plan.md").write_text("# Plan\nfirst\n")
    (folder / "main.py").write_text("print(1)\n")
    (folder / "link.txt").symlink_to(outside / "secret.txt")
    (folder / "linked").symlink_to(outside)
    (folder / "inner").symlink_to("notes")
    return FileRoot(folder)


def test_paths_below_the_root(root):
    for path in ("notes/plan.md", "./notes//plan.md", "notes/../notes/plan.md", str(root.folder / "notes/plan.md")):
        assert root.read_text(path) == "# Plan\nfirst\n"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../outside/secret.txt", "leads out"),
        ("notes/../../outside/secret.txt", "leads out"),
        ("/etc/passwd", "lies outside"),
        ("link.txt", "symbolic link link.txt"),
        ("linked/secret.txt", "linked is no folder, or a symbolic link"),
        ("inner/plan.md", "symbolic link"),
        ("notes", "is a folder"),
        ("", "root folder itself"),
        ("..", "leads out"),
        ("missing.txt", "missing.txt does not exist"),
        ("nowhere/x.txt", "does not exist: there is no nowhere|nowhere does not exist"),
        ("main.py/x", "main.py is no folder"),
        ("a\0b", "NUL"),
        ("x" * 300, "can't be opened"),
    ],
)
def test_paths_that_lead_nowhere(root, path, message):
    with pytest.raises(ToolError, match=message):
        root.read_bytes(path)


@pytest.mark.parametrize("path", ["../new.txt", "linked/new.txt", "/tmp/new.txt", "link.txt", "notes", ""])
def test_nothing_is_written_outside_or_through_links(root, outside, path):
    with pytest.raises(ToolError):
        root.write_text(path, "x", replace=True)
    assert sorted(os.listdir(outside)) == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == "secret"
    assert sorted(os.listdir(root.folder)) == ["inner", "link.txt", "linked", "main.py", "notes"]


def test_special_files_are_not_opened(root, monkeypatch):
    monkeypatch.chdir(root.folder)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")  # relative: the path of a socket has room for about a hundred characters
        for name in ("pipe", "socket"):
            with pytest.raises(ToolError, match="no ordinary file"):
                root.read_bytes(name)
            with pytest.raises(ToolError, match="no ordinary file"):
                root.write_text(name, "x", replace=True)
    assert {file.path for file in root.walk()} == {"main.py", "notes/plan.md"}


def test_a_folder_swapped_for_a_link_is_not_followed(root, outside):
    (root.folder / "notes" / "plan.md").unlink()
    (root.folder / "notes").rmdir()
    (root.folder / "notes").symlink_to(outside)
    with pytest.raises(ToolError, match="link"):
        root.read_bytes("notes/secret.txt")


def test_what_is_no_text_or_too_large(root):
    (root.folder / "image.png").write_bytes(b"\x89PNG\xff\xfe")
    (root.folder / "nul.txt").write_bytes(b"a\0b")
    with (root.folder / "large").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ToolError, match="a PNG image, 6 bytes"):
        root.read_text("image.png")
    with pytest.raises(ToolError, match="no text"):
        root.read_text("nul.txt")
    with pytest.raises(ToolError, match="at most"):
        root.read_bytes("large")


def test_writing(root):
    root.write_text("deep/er/new.txt", "hello\r\n", replace=False)
    assert (root.folder / "deep/er/new.txt").read_bytes() == b"hello\r\n"
    with pytest.raises(ToolError, match="there already"):
        root.write_text("deep/er/new.txt", "x", replace=False)
    script = root.folder / "main.py"
    script.chmod(0o777)  # more than the user's mask leaves to new files
    root.write_text("main.py", "print(2)\n", replace=True)
    assert stat.S_IMODE(script.stat().st_mode) == 0o777
    assert script.read_text() == "print(2)\n"


def test_a_write_that_the_disk_refuses_leaves_the_file_as_it_was(root, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ToolError, match="No space left"):
        root.write_text("main.py", "print(3)", replace=True)
    assert (root.folder / "main.py").read_text() == "print(1)\n"
    assert sorted(os.listdir(root.folder)) == ["inner", "link.txt", "linked", "main.py", "notes"]


def test_a_text_that_can_not_be_encoded_changes_nothing(root):
    with pytest.raises(ToolError, match="character 5"):
        root.write_text("main.py", "half \ud800", replace=True)
    assert (root.folder / "main.py").read_text() == "print(1)\n"
    assert sorted(os.listdir(root.folder)) == ["inner", "link.txt", "linked", "main.py", "notes"]


def test_walking_skips_links_and_version_control(root):
    (root.folder / ".git").mkdir()
    (root.folder / ".git" / "config").write_text("x")
    files = list(root.walk())
    assert [(file.path, file.size) for file in files] == [("main.py", 9), ("notes/plan.md", 13)]
    assert [file.path for file in root.walk("notes")] == ["notes/plan.md"]
    for path in ("linked", "..", "nowhere"):
        with pytest.raises(ToolError):
            list(root.walk(path))


def test_a_file_that_goes_while_it_is_listed_is_left_out(root):
    (root.folder / "zebra.txt").write_text("x")
    found = []
    for file in root.walk():
        (root.folder / "zebra.txt").unlink(missing_ok=True)
        found.append(file.path)
    assert found == ["main.py", "notes/plan.md"]


def test_a_root_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        FileRoot(tmp_path / "nowhere")
