"""The tools that are built in, by the words that a command line names them with."""

from collections.abc import Callable, Mapping

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
