"""Usage of a tree of processes, measured on processes of our own."""

import os
import random
import subprocess
import sys
import time

import pytest

from fulmen.tools.sandbox.limits import Limit, SandboxLimits
from fulmen.tools.sandbox.usage import CHILDREN_ARE_LISTED, HiddenTime, ProcessTime, UsageWatch, tree_usage

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


# Children that each use CPU_SECONDS, one after the other; their sum is printed.
CHILDREN = """
import os, signal, sys, time
count, seconds = int(sys.argv[1]), float(sys.argv[2])
if sys.argv[3] == "hidden":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
used = 0.0
for _ in range(count):
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        while time.process_time() < seconds:
            pass
        os.write(theirs, str(time.process_time()).encode())
        os._exit(0)
    used += float(os.read(ours, 100))
    os.close(ours), os.close(theirs)
    if sys.argv[3] == "waited for":
        os.waitpid(child, 0)
print(used + time.process_time())
"""


@pytest.mark.parametrize("seconds", [0.004, 0.03, 0.4])
@pytest.mark.parametrize("how", ["hidden", "waited for"])
def test_children_count_though_nobody_waits_for_them(how: str, seconds: float) -> None:
    command = [sys.executable, "-c", CHILDREN, str(int(2 / seconds)), str(seconds), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        watch = UsageWatch(program.pid, None, [], SandboxLimits(cpu_seconds=1000))
        while program.poll() is None:
            assert watch.exceeded() is None
            time.sleep(random.uniform(0.05, 0.15))
        assert program.stdout is not None
        used = float(program.stdout.read())
    assert watch.cpu_seconds > used * (0.4 if how == "hidden" else 0.8)
    if how == "waited for":
        assert watch.cpu_seconds < used * 1.5 + 0.2  # where others use the machine, too


@pytest.mark.parametrize(("waited_for", "hidden"), [(5.0, 0.0), (0.0, 5.0)])
def test_what_a_parent_waits_for_as_we_look_is_not_hidden(waited_for: float, hidden: float) -> None:
    parent, child, watch = (1, 0), (2**31, 0), HiddenTime()
    watch.look({parent: ProcessTime(1.0, 0.0, running=0.0), child: ProcessTime(5.0, 0.0, running=0.0)})
    watch.look({parent: ProcessTime(1.0, 0.0, running=0.0)})  # read before the child ended, which is gone
    for _ in range(2):
        watch.look({parent: ProcessTime(1.0, waited_for, running=0.0)})
    assert watch.seconds == hidden


def test_a_process_that_is_gone_uses_nothing() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert tree_usage(child).processes == 0
