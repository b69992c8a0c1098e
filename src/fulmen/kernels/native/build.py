"""Compiles the C++ next to this file, once per machine, into the user's cache folder.

A compiler on the machine comes first; without one, the `ziglang` wheel brings a whole C++ toolchain by pip. The
library's name is a hash of the sources, the compiler and the CPU, so that a changed source or a home folder shared
between machines never meets a library that doesn't fit.
"""

import hashlib
import importlib.util
import logging
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fulmen.catalog import home

_log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent
INSTALL_HINT = "install a C++ compiler (g++ or clang++), or `pip install ziglang`"
FLAGS = ["-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread", "-fno-sanitize=all"]
# The first that the compiler takes: GCC and Clang on x86, older ones on ARM, and at last the plain architecture.
CPU_FLAGS = [["-march=native"], ["-mcpu=native"], []]


class BuildError(Exception):
    """No library could be built; the message says why and what to install."""


def compilers() -> list[list[str]]:
    """Commands that may compile C++ here, best first."""
    found = [[path] for name in ("c++", "g++", "clang++") if (path := shutil.which(name))]
    if importlib.util.find_spec("ziglang") is not None:
        found.append([sys.executable, "-m", "ziglang", "c++"])
    return found


def cache_folder() -> Path:
    """Where libraries are kept: `native` in the home of Fulmen."""
    return home() / "native"


def _cpu() -> str:
    """Names the CPU and its instruction sets as well as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    told = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    return "\n".join(sorted(told))


def library() -> Path:
    """The built library; compiles it on first use, in about ten seconds. Raises BuildError."""
    commands = compilers()
    if not commands:
        raise BuildError(f"there is no C++ compiler: {INSTALL_HINT}")
    sources = sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.h")])
    failures = []
    for command in commands:
        key = hashlib.sha256(repr([command, _version(command), FLAGS, platform.machine(), _cpu()]).encode())
        for source in sources:
            key.update(source.read_bytes())
        target = cache_folder() / f"fulmen-{key.hexdigest()[:20]}.so"
        if target.exists():
            return target
        try:
            return _compile(command, [source for source in sources if source.suffix == ".cpp"], target)
        except BuildError as error:
            failures.append(str(error))
    raise BuildError("\n".join([*failures, f"to repair it, {INSTALL_HINT}"]))


def _version(command: list[str]) -> str:
    try:
        return subprocess.run([*command, "--version"], capture_output=True, text=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)


def _compile(command: list[str], sources: list[Path], target: Path) -> Path:
    """All sources as one unit, into a temporary file that then takes its name in one step: others may do the same."""
    unit = "".join(f'#include "{source.name}"\n' for source in sources)
    message = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            built = Path(folder) / "library.so"
            for cpu in CPU_FLAGS:
                _log.info("compiling the native kernels with %s", " ".join(command))
                arguments = [*command, *FLAGS, *cpu, f"-I{SOURCES}", "-x", "c++", "-", "-o", str(built)]
                run = subprocess.run(arguments, input=unit, capture_output=True, text=True, check=False, timeout=300)
                if run.returncode == 0:
                    built.replace(target)
                    return target
                message = message or run.stderr.strip()[-2000:]
    except (OSError, subprocess.TimeoutExpired) as error:
        message = str(error)
    raise BuildError(f"{' '.join(command)} could not compile the native kernels: {message}")
