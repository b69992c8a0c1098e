"""Python in the sandbox, as a model calls it; tests/tools/sandbox tries to break out."""

import pytest
from calling import answer

from fulmen.tools import python_tool as module
from fulmen.tools.python_tool import python_tool
from fulmen.tools.registry import ToolRegistry
from fulmen.tools.sandbox import Limit, SandboxLimits, SandboxUnavailable


@pytest.fixture(scope="module")
def registry():
    limits = SandboxLimits(wall_seconds=100, cpu_seconds=2)
    return ToolRegistry([python_tool(limits)], max_result_tokens=300)


def run(registry, code):
    return answer(registry, "python", {"code": code})


def test_what_is_printed_is_answered(registry):
    result = run(registry, "import math\nprint(math.comb(5, 2), 'ä')")
    assert (result.content, result.failed) == ("10 ä\n", False)


def test_errors_and_endings_are_told(registry):
    assert "ZeroDivisionError" in run(registry, "1 / 0").content
    assert "SyntaxError" in run(registry, "print(").content
    assert str(Limit.CPU) in run(registry, "while True: pass").content
    assert "print what you want to see" in run(registry, "1 + 1").content


def test_a_flood_is_cut(registry):
    content = run(registry, "print('flood ' * 100_000)").content
    assert len(content) <= 900
    assert "left out" in content


def test_half_a_surrogate_pair_is_no_program(registry):
    assert "Error" in run(registry, "print('\\ud800')").content


def test_without_a_sandbox_nothing_runs(registry, monkeypatch):
    async def unavailable(*_arguments, **_options):
        raise SandboxUnavailable("bwrap is missing: apt install bubblewrap")

    monkeypatch.setattr(module, "run_python", unavailable)
    result = run(registry, "print(1)")
    assert result.failed
    assert result.content == "Error: no program can be run here: bwrap is missing: apt install bubblewrap"
