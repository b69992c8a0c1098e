"""Tools that list, read, search, write and edit files below a folder."""

import fnmatch
import re
from typing import Annotated

import regex
from pydantic import Field

from fulmen.tools.file_root import FileRoot
from fulmen.tools.function import tool_from_function
from fulmen.tools.tool import Tool, ToolError

_MOST_LISTED = 500
_MOST_MATCHES = 100
_MOST_OF_A_LINE = 300
_SEARCHED_BYTES = 4 << 20
_PATTERN_SECONDS = 2.0

Lines = Annotated[int, Field(ge=1, le=2000)]


def file_tools(root: FileRoot, *, writable: bool = False) -> tuple[Tool, ...]:
    """Tools for the files below a folder; those that write are dangerous and only there if asked for."""
    reading = _ReadingFiles(root)
    tools = [tool_from_function(f) for f in (reading.list_files, reading.read_file, reading.search_files)]
    if writable:
        writing = _WritingFiles(root)
        tools += [tool_from_function(f, dangerous=True) for f in (writing.write_file, writing.edit_file)]
    return tuple(tools)


def read_file_tool(root: FileRoot) -> Tool:
    """The reading of a file alone: what a search's citation is followed up with."""
    return tool_from_function(_ReadingFiles(root).read_file)


class _ReadingFiles:
    def __init__(self, root: FileRoot) -> None:
        self._root = root

    def list_files(self, folder: str = "", pattern: str = "*") -> str:
        """List the files below a folder.

        Args:
            folder: relative to the root folder, which is the default.
            pattern: names that count, as in *.py
        """
        found = [file for file in self._root.walk(folder) if _matches(file.path, pattern)]
        lines = [f"{file.path} ({file.size} bytes)" for file in found[:_MOST_LISTED]]
        if len(found) > _MOST_LISTED:
            lines.append(f"... and {len(found) - _MOST_LISTED} more; name a folder or a pattern")
        return "\n".join(lines) or f"no file matches {pattern}"

    def read_file(self, path: str, first_line: Annotated[int, Field(ge=1)] = 1, num_lines: Lines = 200) -> str:
        """Read lines of a text file.

        Args:
            path: relative to the root folder.
            first_line: counted from 1.
            num_lines: how many lines to read.
        """
        lines = self._root.read_text(path).splitlines()
        if first_line > max(len(lines), 1):
            raise ToolError(f"{path} has {len(lines)} lines; line {first_line} is not there")
        last = min(first_line - 1 + num_lines, len(lines))
        shown = "\n".join(lines[first_line - 1 : last]) or "(the file is empty)"
        return shown if last == len(lines) else f"{shown}\n(lines {first_line} to {last} of {len(lines)})"

    def search_files(self, pattern: str, folder: str = "", files: str = "*", ignore_case: bool = False) -> str:
        """Search text files for a regular expression; answers path:line: text.

        Args:
            pattern: a regular expression as Python knows them.
            folder: where to search, relative to the root folder.
            files: names of files to search, as in *.py
            ignore_case: whether A matches a.
        """
        try:
            expression = regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
        except regex.error as error:
            raise ToolError(f"{pattern!r:.200} is no regular expression: {error}") from None
        matches: list[str] = []
        for file in self._root.walk(folder):
            if file.size > _SEARCHED_BYTES or not _matches(file.path, files):
                continue
            try:
                text = self._root.read_text(file.path)
            except ToolError:  # binary, or gone since it was listed
                continue
            for number, line in enumerate(text.splitlines(), start=1):
                if _found(expression, line, pattern):
                    matches.append(f"{file.path}:{number}: {line.strip()[:_MOST_OF_A_LINE]}")
                if len(matches) > _MOST_MATCHES:
                    return "\n".join([*matches[:_MOST_MATCHES], "... and more; make the pattern narrower"])
        return "\n".join(matches) or f"nothing matches {pattern!r:.200}"


class _WritingFiles:
    def __init__(self, root: FileRoot) -> None:
        self._root = root

    def write_file(self, path: str, content: str) -> str:
        """Write a new file. Use edit_file for one that is there.

        Args:
            path: relative to the root folder.
            content: the whole text.
        """
        self._root.write_text(path, content, replace=False)
        return f"{path} is written, {len(content.splitlines())} lines"

    def edit_file(self, path: str, old: Annotated[str, Field(min_length=1)], new: str) -> str:
        """Replace a piece of a text file that occurs exactly once.

        Args:
            path: relative to the root folder.
            old: the piece as it stands in the file, with enough around it to occur once.
            new: what stands there instead.
        """
        text = self._root.read_text(path)
        if "\r\n" in text:  # which reading does not show, so that no model writes it
            old, new = (re.sub(r"\r?\n", "\r\n", piece) for piece in (old, new))
        count = text.count(old)
        if count != 1:
            advice = "read it and copy the piece exactly" if count == 0 else "give more of what stands around it"
            raise ToolError(f"the piece occurs {count} times in {path}, not once; {advice}. Nothing was changed")
        self._root.write_text(path, text.replace(old, new), replace=True)
        return f"{path} is changed at line {text[: text.index(old)].count(chr(10)) + 1}"


def _matches(path: str, pattern: str) -> bool:
    return fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path.rpartition("/")[2], pattern)


def _found(expression: "regex.Pattern[str]", line: str, pattern: str) -> bool:
    try:
        return expression.search(line, timeout=_PATTERN_SECONDS, concurrent=True) is not None
    except TimeoutError:
        raise ToolError(f"{pattern!r:.200} takes too long to match; make it simpler") from None
