"""Servers over real HTTP in threads."""

import socket
import threading
import time
from contextlib import contextmanager

import uvicorn

from fulmen.server.run import make_server

TINY_CONTEXT = 3000


@contextmanager
def running(served, options=None):
    """Serve a model in a thread on a free port; yields the address."""
    with in_thread(make_server(served, options)) as address:
        yield address


@contextmanager
def in_thread(server: uvicorn.Server):
    """Run a server on a free port; yields the address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()
