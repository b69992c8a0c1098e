"""Usage of a tree of processes, measured on processes of our own."""

import os
import subprocess
import sys

import pytest

from fulmen.tools.sandbox.limits import Limit, SandboxLimits
from fulmen.tools.sandbox.usage import CHILDREN_ARE_LISTED, UsageWatch, tree_usage

pytestmark = pytest.mark.skipif(not CHILDREN_ARE_LISTED, reason="this kernel lists no children of processes")

# A parent with a thread, whose child holds 64 MiB; both wait for the end of stdin.
PROGRAM = """
import os, sys, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
if os.fork() == 0:
    held = bytearray(b"x") * (64 << 20)
    sum(range(3_000_000))
    print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_children_and_threads_count() -> None:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        usage = tree_usage(program.pid)
        assert usage.processes == 3
        assert usage.memory_bytes > 64 << 20
        assert usage.cpu_seconds > 0
        watch = UsageWatch(program.pid, None, [], SandboxLimits(memory_bytes=32 << 20))
        assert watch.exceeded() is Limit.MEMORY
        assert UsageWatch(program.pid, None, [], SandboxLimits(processes=1)).exceeded() is Limit.PROCESSES
        assert UsageWatch(program.pid, None, [], SandboxLimits(cpu_seconds=0.001)).exceeded() is Limit.CPU
        assert UsageWatch(program.pid, None, [], SandboxLimits()).exceeded() is None
        program.communicate("")


def test_a_process_that_is_gone_uses_nothing() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert tree_usage(child).processes == 0
