"""A program behind a pseudo-terminal, for tests that type and read as a user does."""

import os
import pty
import re
import select
import signal
import subprocess
import time

ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])")


class Terminal:
    """A program behind a pseudo-terminal that a test types into and reads from."""

    def __init__(self, *command, **environment):
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, close_fds=True,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", **environment},
        )  # fmt: skip
        os.close(slave)
        self._seen = ""

    def wait_for(self, text, seconds=60):
        """Read until `text` is on the screen; what came before it is forgotten then."""
        end = time.monotonic() + seconds
        while text not in self._seen:
            ready, _, _ = select.select([self._master], [], [], 0.1)
            if ready:
                try:
                    data = os.read(self._master, 65536)
                except OSError:  # nobody is at the other side any more
                    raise AssertionError(f"the program ended without {text!r}, after {self._seen[-2000:]!r}") from None
                if b"\x1b[6n" in data:  # asks where the cursor is
                    os.write(self._master, b"\x1b[1;1R")
                self._seen += ESCAPES.sub("", data.decode(errors="replace"))
            assert time.monotonic() < end, f"no {text!r} in {self._seen[-2000:]!r}"
        before, _, self._seen = self._seen.partition(text)
        return before

    def type(self, text):
        os.write(self._master, text.encode())

    def interrupt(self):
        """What Ctrl-C does where the program does not read keys: this terminal controls no process."""
        self._process.send_signal(signal.SIGINT)

    def end(self):
        """The exit code, once the program ends by itself."""
        end = time.monotonic() + 20
        while self._process.poll() is None:
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    os.read(self._master, 65536)
                except OSError:
                    break
            assert time.monotonic() < end, "the program did not end"
        return self._process.wait(timeout=20)

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._master)
