"""Run the application under uvicorn: the banner, the log, and an end that lets running replies finish.

At the first SIGTERM or Ctrl-C the server goes on listening but takes no new work (`/health` says so), and stops when
the last request has been answered or the time for it is up. A second signal stops it at once.
"""

import logging
import os
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn

from fulmen.server.app import create_app
from fulmen.server.limits import Gate
from fulmen.server.served_model import ServedModel, ServerOptions

_CUT_OFF_SECONDS = 2
"""What uvicorn grants connections once the drain is over; streams that still run are cut off then."""
_LOG_LEVEL = logging.INFO


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains before it stops."""

    def __init__(self, config: uvicorn.Config, *, gate: Gate, drain_seconds: float) -> None:
        """Drain by `gate`, for at most `drain_seconds`."""
        super().__init__(config)
        self._gate = gate
        self._drain_seconds = drain_seconds
        self._deadline = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; stop at once when asked again."""
        if self._gate.draining:
            self.should_exit = self.force_exit = True
            return
        self._gate.draining = True
        self._deadline = time.monotonic() + self._drain_seconds
        running = f"waits up to {self._drain_seconds:g} s for {self._gate.num_running} requests"
        logging.getLogger(__name__).info("%s: takes no new work, %s", signal.Signals(sig).name, running)

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether the drain is over."""
        if self._gate.draining and (not self._gate.num_running or time.monotonic() > self._deadline):
            self.should_exit = True
        return await super().on_tick(counter)


def make_server(
    served: ServedModel, options: ServerOptions | None = None, *, host: str = "127.0.0.1", port: int = 8000
) -> DrainingServer:
    """Return a server that has not been started; port 0 takes a free one."""
    options = options or ServerOptions()
    app = create_app(served, options)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,  # ours says more, once per request, when it has ended
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_CUT_OFF_SECONDS,
    )
    return DrainingServer(config, gate=app.state.gate, drain_seconds=options.drain_seconds)


def serve(
    served: ServedModel, options: ServerOptions | None = None, *, host: str = "127.0.0.1", port: int = 8000
) -> None:
    """Serve until a signal ends it. The caller starts the engine's service before and stops it after.

    Args:
        served: the model.
        options: limits and doors; None is an open server with the default limits.
        host: the address to listen on; the default is this machine alone.
        port: the port to listen on.

    Raises:
        OSError: the address can't be listened on.
    """
    options = options or ServerOptions()
    _log_to_stderr()
    server = make_server(served, options, host=host, port=port)
    listener = listen(host, port)
    port = listener.getsockname()[1]  # the one that was free, if 0 was asked for
    print(_banner(served, options, host, port), file=sys.stderr, flush=True)
    server.run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Open a port, 0 for a free one; OSError says what to do where that fails."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise OSError(f"can't listen on {host}:{port}: {reason}; choose another --port or --host") from error


def _banner(served: ServedModel, options: ServerOptions, host: str, port: int) -> str:
    door = f"{len(options.api_keys)} API keys" if options.api_keys else "no API key needed"
    lines = [
        f"Fulmen serves {served.name} at http://{host}:{port}/v1",
        f"  chat page http://{host}:{port}/",
        f"  context {served.max_context:,} tokens, {door}, drains for {options.drain_seconds:g} s",
        f"  documentation http://{host}:{port}/docs, metrics http://{host}:{port}/metrics",
    ]
    if not options.api_keys and host not in ("127.0.0.1", "localhost", "::1"):
        lines.append("  Everybody who reaches this address can use the model: set FULMEN_API_KEYS to ask for a key.")
    return "\n".join(lines)


def _log_to_stderr() -> None:
    """Show our lines and uvicorn's errors, unless the program that calls us has set up logging itself."""
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    for name, level in (("fulmen.server", _LOG_LEVEL), ("uvicorn", logging.WARNING)):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level)
