"""The rules of docs/architecture.md that a reader relies on, checked against the source itself.

import-linter (pyproject.toml) checks the layers and who may reach torch; this page checks the exact arrows, the
size of files and functions, documentation, names, and that a cheap import stays cheap.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "fulmen"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
BANNED_WORDS = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}

# Part of the package -> the parts that it may import.
ARROWS = {
    "config": set(),
    "trace": set(),
    "runlog": set(),
    "catalog": set(),
    "config_formats": {"config"},
    "gguf": set(),
    "pull": {"catalog", "gguf"},
    "chat": {"trace"},
    "kernels": {"catalog"},
    "model": {"config", "config_formats", "kernels"},
    "tools": {"trace", "catalog", "chat"},
    "tasks": {"trace", "chat", "tools"},
    "parallel": {"config", "model"},
    "train": {
        "config", "config_formats", "trace", "catalog", "chat", "kernels", "model", "parallel", "tasks", "runlog",
    },
    "rollout": {"trace", "chat", "tasks", "engine"},
    "agents": {"chat", "tools", "engine", "rollout"},
    "evals": {"trace", "chat", "tasks", "rollout", "runlog"},
    "engine": {"config", "trace", "model", "kernels", "runlog"},
    "server": {"chat", "engine", "trace", "runlog", "config"},
    "__main__": {"cli"},
    "cli": {
        "config", "config_formats", "trace", "runlog", "catalog", "gguf", "pull", "chat", "kernels", "model", "engine",
        "server", "tools", "tasks", "train", "rollout", "evals", "agents",
    },
}  # fmt: skip
# No file here may reach torch, through whatever it imports.
WITHOUT_TORCH = [
    "fulmen", "fulmen.config", "fulmen.trace", "fulmen.chat.prompt", "fulmen.chat.reply", "fulmen.cli",
    "fulmen.catalog", "fulmen.pull", "fulmen.tasks.task", "fulmen.tools.registry", "fulmen.tools.sandbox",
    "fulmen.agents", "fulmen.runlog",
    "fulmen.train.settings", "fulmen.train.source", "fulmen.train.schedule", "fulmen.train.guard",
    "fulmen.engine.request", "fulmen.engine.blocks", "fulmen.engine.states", "fulmen.engine.prefixes",
    "fulmen.engine.scheduler",
]  # fmt: skip


def module_name(path: Path) -> str:
    """`src/fulmen/chat/parser.py` is `fulmen.chat.parser`."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}
every_file = pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(SOURCE)) for path in FILES])


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file, nested ones included."""
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def public_definitions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Functions, classes and methods whose names, and whose classes' names, have no leading underscore."""
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                members = (m for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef))
                yield from (member for member in members if not member.name.startswith("_"))


def imports(path: Path) -> set[str]:
    """Modules of Fulmen that a file imports when it runs, inside functions too, but not those for type checkers."""
    found = set()
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
        pending += ast.iter_child_nodes(node)
    return {name for name in found if name in MODULES}


def part(module: str) -> str:
    """`fulmen.chat.parser` belongs to `chat`; the package itself to `fulmen`."""
    return [*module.split("."), module][1]


@every_file
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    long = [f.name for f in functions(path) if f.end_lineno - f.lineno + 1 > MAX_FUNCTION_LINES]
    assert not long, f"longer than {MAX_FUNCTION_LINES} lines: {long}"


@every_file
def test_every_module_and_public_name_is_documented(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "the module has no docstring"
    silent = [
        node.name
        for node in public_definitions(path)
        if not ast.get_docstring(node)
        and not any("override" in ast.unparse(d) for d in node.decorator_list)
        # torch calls these by name, and their class says what they compute
        and node.name not in {"forward", "backward"}
    ]
    assert not silent, f"without a docstring: {silent}"


@every_file
def test_every_function_is_annotated(path: Path) -> None:
    for function in functions(path):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in {"self", "cls"}]
        assert not bare, f"line {function.lineno}: {function.name}: {bare}"
        assert function.returns is not None, f"line {function.lineno}: {function.name} has no return annotation"


@every_file
def test_names_say_what_things_are(path: Path) -> None:
    names = [path.stem, *(node.name for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef))]
    for name in names:
        words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).split("_")
        assert not BANNED_WORDS & set(words), name


@every_file
def test_source_is_ascii(path: Path) -> None:
    assert path.read_text(encoding="utf-8").isascii()


@every_file
def test_imports_follow_the_arrows(path: Path) -> None:
    here = part(module_name(path))
    if here == "fulmen":  # the package's own face: what it exports, it imports when asked
        return
    targets = {part(name) for name in imports(path)} - {here, "fulmen"}
    assert targets <= ARROWS[here], f"{here} may not import {sorted(targets - ARROWS[here])}"


def test_the_import_graph_has_no_cycle() -> None:
    graph = {name: imports(path) - {name, "fulmen"} for name, path in MODULES.items() if name != "fulmen"}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("module", [name for name in WITHOUT_TORCH if name in MODULES])
def test_import_is_cheap(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
