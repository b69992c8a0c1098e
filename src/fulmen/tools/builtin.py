"""The tools that are built in, by the words that a command line names them with."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from fulmen.tools.calculator import calculator
from fulmen.tools.tool import Tool


def builtin_tools(word: str) -> tuple[Tool, ...]:
    """Tools by a word: `calculator`, `python`, or one with a folder after a colon.

    Example: `builtin_tools("documents:handbook")` has `search_documents` and `read_file` for the folder `handbook`.

    Raises:
        ValueError: no tools have this name, or the folder is missing or not there.
    """
    name, colon, folder = word.partition(":")
    if name in _WITH_FOLDER:
        if not folder:
            raise ValueError(f"{name} needs a folder, as in {name}:FOLDER")
        return _WITH_FOLDER[name](folder)
    if name in _ALONE and not colon:
        return _ALONE[name]()
    known = ", ".join([*_ALONE, *(f"{name}:FOLDER" for name in _WITH_FOLDER)])
    raise ValueError(f"no built-in tools are called {word!r}; there are {known}")


def tools_of_words(words: Iterable[str], make: Callable[[str], tuple[Tool, ...]] = builtin_tools) -> tuple[Tool, ...]:
    """Tools of several words, each with a name of its own; what a word repeats of one before it counts once.

    Example: those of `documents:letters` and `documents:notes` are `search_documents`, `read_file`,
    `notes_search_documents` and `notes_read_file`, and their descriptions say for which folder they are.

    Args:
        words: as for `builtin_tools`.
        make: makes the tools of a word.

    Raises:
        ValueError: as `builtin_tools`.
    """
    found: dict[tuple[str, str], Tool] = {}
    for word, folder in folder_names(words).items():
        for tool in make(word):
            found.setdefault((tool.name, folder), tool)
    often = Counter(name for name, _ in found)
    tools: dict[str, Tool] = {}
    for (name, folder), tool in found.items():
        if often[name] > 1:
            description = f"{tool.description}\n\nThis is for the folder {folder}."
            tool = replace(tool, name=_own_name(name, folder, tools), description=description)
        tools[tool.name] = tool
    return tuple(tools.values())


def folder_names(words: Iterable[str]) -> dict[str, str]:
    """The folder of each word by its last part, or by as many as tell it from the others'; "" where there is none.

    Example: `folder_names(["python", "files:/a/notes", "files:/b/notes"])` is
    `{"python": "", "files:/a/notes": "a/notes", "files:/b/notes": "b/notes"}`.
    """
    folders = {word: word.partition(":")[2] for word in words}
    paths = {folder: Path(folder).expanduser().resolve() for folder in folders.values() if folder}
    return {word: _short(paths[folder], paths.values()) if folder else "" for word, folder in folders.items()}


def _short(path: Path, others: Iterable[Path]) -> str:
    for count in range(1, len(path.parts)):
        last = path.parts[-count:]
        if all(other == path or other.parts[-count:] != last for other in others):
            return "/".join(last)
    return str(path)


def _own_name(name: str, folder: str, taken: Collection[str]) -> str:
    begin, number, own = re.sub(r"[^A-Za-z0-9_-]", "_", folder)[-40:], 1, name
    while own in taken:  # more than once for folders that differ in other letters only
        own = f"{begin}_{name}" if number == 1 else f"{begin}_{number}_{name}"
        number += 1
    return own


def _python() -> tuple[Tool, ...]:
    from fulmen.tools.python_tool import python_tool

    return (python_tool(),)


def _files(folder: str) -> tuple[Tool, ...]:
    from fulmen.tools.file_root import FileRoot
    from fulmen.tools.files import file_tools

    return file_tools(FileRoot(folder))


def _edit(folder: str) -> tuple[Tool, ...]:
    from fulmen.tools.file_root import FileRoot
    from fulmen.tools.files import file_tools

    return file_tools(FileRoot(folder), writable=True)


def _documents(folder: str) -> tuple[Tool, ...]:
    from fulmen.tools.documents import DocumentIndex, document_tools
    from fulmen.tools.file_root import FileRoot

    root = FileRoot(folder)
    return document_tools(DocumentIndex(root), root)


_ALONE: Mapping[str, Callable[[], tuple[Tool, ...]]] = {"calculator": lambda: (calculator(),), "python": _python}
_WITH_FOLDER: Mapping[str, Callable[[str], tuple[Tool, ...]]] = {
    "files": _files,
    "edit": _edit,
    "documents": _documents,
}
