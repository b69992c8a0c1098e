"""Python programs in the sandbox, as a model reads them."""

import asyncio
import sys

import pytest

from fulmen.tools.sandbox import CapturedOutput, Limit, PythonOutcome, SandboxLimits, SandboxResult, run_python
from fulmen.tools.sandbox.python_program import MAX_ERROR_LINES, report


def run(source: str, **options: object) -> PythonOutcome:
    """Run a program to its end."""
    return asyncio.run(run_python(source, **options))


def ended(
    *, out: str = "", err: str = "", exit_code: int | None = 0, signal: int | None = None, by: Limit | None = None
) -> SandboxResult:
    """A result as the sandbox would give it."""
    streams = {"stdout": CapturedOutput(head=out.encode()), "stderr": CapturedOutput(head=err.encode())}
    return SandboxResult(exit_code=exit_code, signal=signal, ended_by=by, seconds=1, files={}, left_out={}, **streams)


@pytest.mark.usefixtures("sandbox")
class TestPrograms:
    """Whole programs."""

    def test_output(self) -> None:
        assert run("print('caf\u00e9', 6 * 7)").text == "caf\u00e9 42\n"

    def test_an_error_after_output(self) -> None:
        text = run("print('before')\nopen('missing')").text
        assert text.startswith("before\nTraceback")
        assert "FileNotFoundError: [Errno 2] No such file or directory: 'missing'\n[exit code 1]\n" in text

    def test_a_syntax_error(self) -> None:
        assert "SyntaxError" in run("print(").text

    def test_out_of_memory_is_an_error_that_can_be_read(self) -> None:
        text = run("x = bytes(10**10)", limits=SandboxLimits(memory_bytes=1 << 28)).text
        assert text.endswith("MemoryError\n[exit code 1]\n")

    def test_a_limit_is_named(self) -> None:
        text = run("print('start')\nimport time\ntime.sleep(10**6)", limits=SandboxLimits(wall_seconds=2)).text
        assert text == "start\n[stopped at the limit on wall time]\n"

    def test_files_and_modules_beside_the_program(self) -> None:
        source = "import mine, sys\nopen('out.txt', 'w').write(mine.word + sys.stdin.read())"
        outcome = run(source, files={"mine.py": b"word = 'w'"}, stdin=b"in", collect=["out.txt"])
        assert outcome.result.files == {"out.txt": b"win"}
        assert outcome.text == "[no output: print what you want to see]\n"

    def test_the_standard_library_works(self) -> None:
        source = """
import asyncio, concurrent.futures, multiprocessing, socket, sqlite3, subprocess, tempfile, threading

def double(x):
    return 2 * x

async def served():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"own loopback\\n")
    return (await reader.readline()).decode().strip()

if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor(4) as threads, multiprocessing.Pool(2) as processes:
        print(list(threads.map(double, range(3))), processes.map(double, range(3)))
    with tempfile.NamedTemporaryFile() as file:
        print(sqlite3.connect(file.name).execute("select 1 + 1").fetchone())
    print(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout.strip())
    print(asyncio.run(served()))
"""
        assert run(source).text == "[0, 2, 4] [0, 2, 4]\n(2,)\nchild\nown loopback\n"

    def test_it_is_the_same_python_without_our_packages(self) -> None:
        text = run("import sys\nprint(sys.version_info[:2])\nimport fulmen").text
        assert text.startswith(f"{sys.version_info[:2]}\n")
        assert "ModuleNotFoundError: No module named 'fulmen'" in text

    def test_the_name_of_the_program_is_taken(self) -> None:
        with pytest.raises(ValueError, match="program.py"):
            run("", files={"program.py": b""})


class TestReport:
    """Results made up."""

    def test_only_the_last_traceback(self) -> None:
        error = "warning\nTraceback (most recent call last):\n  first\nTraceback (most recent call last):\n  last\n"
        text = report(ended(out="x", err=error, exit_code=1))
        assert text == "x\nTraceback (most recent call last):\n  last\n[exit code 1]\n"

    def test_stderr_without_a_traceback(self) -> None:
        assert report(ended(err="careful\n")) == "careful\n"

    def test_a_long_traceback_loses_its_middle(self) -> None:
        lines = ["Traceback (most recent call last):", *map(str, range(100)), "RecursionError"]
        text = report(ended(err="\n".join(lines), exit_code=1))
        assert "lines left out" in text
        assert text.endswith("99\nRecursionError\n[exit code 1]\n")
        assert len(text.splitlines()) == MAX_ERROR_LINES + 2

    def test_a_limit_and_a_signal(self) -> None:
        assert report(ended(exit_code=None, signal=9, by=Limit.MEMORY)) == "[stopped at the limit on memory]\n"
        assert report(ended(exit_code=None, signal=11)) == "[signal SIGSEGV]\n"
        assert report(ended(exit_code=None, signal=62)) == "[signal 62]\n"
