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
        # The program's side stays open here: where it closes last, what was written just before may be lost.
        self._master, self._slave = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=self._slave, stdout=self._slave, stderr=self._slave, start_new_session=True, close_fds=True,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", **environment},
        )  # fmt: skip
        self._seen = ""

    def wait_for(self, text, seconds=60):
        """Read until `text` is on the screen; what came before it is forgotten then."""
        end = time.monotonic() + seconds
        while text not in self._seen:
            ended = self._process.poll() is not None
            if self._ready():
                data = os.read(self._master, 65536)
                if b"\x1b[6n" in data:  # asks where the cursor is
                    os.write(self._master, b"\x1b[1;1R")
                self._seen += ESCAPES.sub("", data.decode(errors="replace"))
            else:
                assert not ended, f"the program ended without {text!r}, after {self._seen[-2000:]!r}"
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
            if self._ready():
                os.read(self._master, 65536)
            assert time.monotonic() < end, "the program did not end"
        return self._process.returncode

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._master)
        os.close(self._slave)

    def _ready(self):
        return bool(select.select([self._master], [], [], 0.1)[0])
