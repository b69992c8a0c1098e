"""Files into the working folder and out of it again, from the outside, through a descriptor of the folder.

The folder is a tmpfs that exists only in the sandbox. Whoever holds a descriptor of it can still read it when all that
ran inside is dead, so nothing can change a file while it is read back. Its names were chosen by an adversary all the
same: every step of a path is opened by itself, without following links, and only regular files are read.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

MAX_DEPTH = 32
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe in place of a file must not block whoever opens it.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def check_path(path: str) -> None:
    """Raise ValueError unless `path` is relative and leads to a place within the working folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or len(parts) > MAX_DEPTH:
        raise ValueError(f"{path!r} is no path within the working folder: it must be relative, without '..'")


def write_files(folder: int, files: Mapping[str, bytes], owner: int | None) -> None:
    """Create `files` below the open `folder`, owned by the user id `owner` (None: by the caller).

    Raises:
        ValueError: they don't fit into the space that the job has, or one is a folder of another.
    """
    if owner is not None:
        os.fchown(folder, owner, owner)
    for path, data in files.items():
        *parents, name = PurePosixPath(path).parts
        try:
            current = os.dup(folder)
            try:
                for parent in parents:
                    current = _entered(current, parent, owner)
                with open(os.open(name, _CREATE, 0o644, dir_fd=current), "wb") as file:
                    if owner is not None:
                        os.fchown(file.fileno(), owner, owner)
                    file.write(data)
            finally:
                os.close(current)
        except OSError as error:
            raise ValueError(f"{path!r} could not be put into the working folder: {error.strerror}") from error


def _entered(folder: int, name: str, owner: int | None) -> int:
    """Close `folder` and open the one below it, made if it isn't there."""
    try:
        try:
            os.mkdir(name, 0o755, dir_fd=folder)
        except FileExistsError:
            return os.open(name, _FOLDER, dir_fd=folder)
        inner = os.open(name, _FOLDER, dir_fd=folder)
        if owner is not None:
            os.fchown(inner, owner, owner)
        return inner
    finally:
        os.close(folder)


@dataclass(slots=True)
class Collected:
    """What was read back."""

    room: int
    """Bytes that may still be read."""
    files: dict[str, bytes] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def read_files(folder: int, wanted: Sequence[str], max_bytes: int) -> Collected:
    """Read the `wanted` files and folders below the open `folder`, at most `max_bytes` in all.

    Nothing may run in the sandbox any more. What can't be had is named in `left_out`.
    """
    collected = Collected(room=max_bytes)
    for path in wanted:
        parts = PurePosixPath(path).parts
        _collect(folder, parts[:1], parts[1:], collected)
    return collected


def _collect(folder: int, done: tuple[str, ...], rest: tuple[str, ...], collected: Collected) -> None:
    """Read the entry `done[-1]` of `folder`: walk on to `rest`, or take all that is there."""
    path = "/".join(done) or "."
    if path in collected.files or path in collected.left_out:
        return
    try:
        entry = os.open(done[-1] if done else ".", _READ, dir_fd=folder)
    except OSError as error:
        links = "it is a link" if _is_link(folder, done) else error.strerror
        collected.left_out[path] = str(links)
        return
    try:
        mode = os.fstat(entry).st_mode
        if stat.S_ISDIR(mode):
            if rest:
                _collect(entry, (*done, rest[0]), rest[1:], collected)
            elif len(done) >= MAX_DEPTH:
                collected.left_out[path] = f"it is more than {MAX_DEPTH} folders deep"
            else:
                for name in sorted(os.listdir(entry)):
                    if name.isascii() or os.fsencode(name).decode(errors="replace") == name:
                        _collect(entry, (*done, name), (), collected)
                    else:
                        legible = os.fsencode(name).decode(errors="replace")
                        collected.left_out["/".join([*done, legible])] = "its name is not UTF-8"
        elif rest or not stat.S_ISREG(mode):
            collected.left_out[path] = "it is not a folder" if rest else "it is neither a file nor a folder"
        else:
            _take(entry, path, collected)
    except OSError as error:
        collected.left_out[path] = str(error.strerror)
    finally:
        os.close(entry)


def _is_link(folder: int, done: tuple[str, ...]) -> bool:
    try:
        return bool(done) and stat.S_ISLNK(os.stat(done[-1], dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _take(entry: int, path: str, collected: Collected) -> None:
    size = os.fstat(entry).st_size
    if size > collected.room:
        collected.left_out[path] = f"its {size:,} bytes are more than may still be returned"
        return
    data = bytearray()
    while piece := os.read(entry, 1 << 20):
        data += piece
    collected.room -= len(data)
    collected.files[path] = bytes(data)
