"""A folder that a model may look into, and no way out of it.

Paths are walked from the folder's descriptor one component at a time, and no symbolic link is ever followed: neither
`..` nor a link, not even one that is swapped in meanwhile, leads out. Only ordinary files are opened, so that no pipe
can block and no device is touched.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fulmen.tools.content import describe_binary
from fulmen.tools.tool import ToolError

MAX_FILE_BYTES = 16 << 20
SKIPPED_FOLDERS = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", ".tox", ".mypy_cache"})


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFile:
    """A file that a walk came by.

    Example: `FoundFile(path="notes/paris.md", size=2048, changed_ns=1764130000000000000)`.
    """

    path: str
    """Below the root, with `/`."""
    size: int
    """Bytes."""
    changed_ns: int


class FileRoot:
    """A folder and what lies below it.

    Example: `FileRoot("project").read_text("src/main.py")`.
    """

    def __init__(self, folder: str | Path) -> None:
        """Take a folder; ValueError if there is none."""
        self.folder = Path(folder).expanduser().resolve()
        if not self.folder.is_dir():
            raise ValueError(f"{folder} is no folder")

    def relative(self, path: str) -> str:
        """A path below the root in its shortest form; "" is the root itself.

        Raises:
            ToolError: it leads out of the root, or no file can have this name.
        """
        if "\0" in path:
            raise ToolError("a path can't contain NUL")
        given = PurePosixPath(path)
        if given.is_absolute():
            if not given.is_relative_to(self.folder.as_posix()):
                raise ToolError(f"{path} lies outside; give a path relative to the root folder, as in notes/plan.md")
            given = given.relative_to(self.folder.as_posix())
        parts: list[str] = []
        for part in given.parts:
            if part == ".." and not parts:
                raise ToolError(f"{path} leads out of the root folder; there is nothing to be had outside")
            parts = parts[:-1] if part == ".." else [*parts, part]
        return "/".join(parts)

    def read_bytes(self, path: str) -> bytes:
        """The content of a file of at most 16 MiB; ToolError says what is there instead."""
        with self._parent(path) as (folder, name):
            descriptor = _open(folder, name, os.O_RDONLY | os.O_NONBLOCK, path)
            try:
                status = os.fstat(descriptor)
                if stat.S_ISDIR(status.st_mode):
                    raise ToolError(f"{path} is a folder; list it instead")
                if not stat.S_ISREG(status.st_mode):
                    raise ToolError(f"{path} is no ordinary file")
                if status.st_size > MAX_FILE_BYTES:
                    raise ToolError(f"{path} has {status.st_size} bytes; at most {MAX_FILE_BYTES} are read")
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    return file.read(MAX_FILE_BYTES)
            finally:
                os.close(descriptor)

    def read_text(self, path: str) -> str:
        """The text of a file; ToolError if it is binary or not there."""
        data = self.read_bytes(path)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise ToolError(f"{path} is no text: {describe_binary(data)}") from None
        if "\0" in text:
            raise ToolError(f"{path} is no text: {describe_binary(data)}")
        return text

    def write_text(self, path: str, text: str, *, replace: bool) -> None:
        """Write a file whole or not at all; folders on the way are made.

        Args:
            path: below the root.
            text: what it shall hold.
            replace: whether a file may be there already; its permissions stay.

        Raises:
            ToolError: something is there that must not be replaced, the text can't be encoded, or the disk says no.
        """
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise ToolError(f"the text has half a surrogate pair at character {error.start}") from None
        with self._parent(path, make=True) as (folder, name):
            kept_mode = None
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                pass
            else:
                if not stat.S_ISREG(status.st_mode):
                    raise ToolError(f"{path} is no ordinary file and is not replaced")
                if not replace:
                    raise ToolError(f"{path} is there already; edit it instead")
                kept_mode = status.st_mode & 0o777
            beside = f".{name[:100]}.{secrets.token_hex(4)}"
            descriptor = _open(folder, beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, path)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    if kept_mode is not None:
                        os.fchmod(file.fileno(), kept_mode)  # the user's mask must not take from it
                    file.write(data)
                os.replace(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError as error:
                os.unlink(beside, dir_fd=folder)
                raise ToolError(f"{path} can't be written: {error.strerror}") from error

    def walk(self, folder: str = "") -> Iterator[FoundFile]:
        """The ordinary files below a folder in the order of their names, without those of version control and caches.

        Raises:
            ToolError: there is no such folder.
        """
        start = self.relative(folder)
        with self._folder(start) as descriptor:
            yield from _walk(descriptor, start)

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        *folders, name = self.relative(path).split("/")
        if not name:
            raise ToolError(f"{path or 'the empty path'} is the root folder itself; name a file in it")
        with self._folder("/".join(folders), make=make) as descriptor:
            yield descriptor, name

    @contextmanager
    def _folder(self, path: str, *, make: bool = False) -> Iterator[int]:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in path.split("/") if path else ():
                if make:
                    _make_folder(descriptor, part, path)
                below = _open(descriptor, part, os.O_RDONLY | os.O_DIRECTORY, path)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


def _walk(descriptor: int, path: str) -> Iterator[FoundFile]:
    with os.scandir(descriptor) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        below = f"{path}/{entry.name}" if path else entry.name
        if entry.is_dir(follow_symlinks=False):
            if entry.name in SKIPPED_FOLDERS:
                continue
            try:
                child = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            except OSError:  # not readable, or gone meanwhile
                continue
            try:
                yield from _walk(child, below)
            finally:
                os.close(child)
        elif entry.is_file(follow_symlinks=False):
            try:
                status = os.stat(entry.name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:  # gone meanwhile
                continue
            yield FoundFile(path=below, size=status.st_size, changed_ns=status.st_mtime_ns)


def _open(folder: int, name: str, flags: int, path: str) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
    except OSError as error:
        raise ToolError(_refusal(error, name, path)) from error


def _make_folder(folder: int, name: str, path: str) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return
    except OSError as error:
        raise ToolError(f"{path} can't be made: {error.strerror}") from error


def _refusal(error: OSError, name: str, path: str) -> str:
    if error.errno == errno.ENOENT:
        return f"{path} does not exist" + ("" if path.endswith(name) else f": there is no {name}")
    if error.errno == errno.ELOOP:
        return f"{path} goes through the symbolic link {name}; links are not followed"
    if error.errno == errno.ENOTDIR:
        return f"{path}: {name} is no folder, or a symbolic link, which is not followed"
    if error.errno == errno.ENXIO:
        return f"{path} is no ordinary file"
    return f"{path} can't be opened: {error.strerror}"
