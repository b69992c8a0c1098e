"""Schemathesis reads the API's own description and sends what fits it and what doesn't: nothing is answered by 500."""

import subprocess
import sys

from serving import running

from fulmen.server.served_model import ServerOptions


def test_no_request_is_answered_by_a_server_error(tiny_model, tmp_path):
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", "--checks", "not_a_server_error", "--max-examples", "20",
        "--generation-deterministic", "--suppress-health-check", "all", "--no-color",
        "--workers", "1",  # CPython 3.11's compiler fails where several threads compile at a time
    ]  # fmt: skip
    with running(tiny_model, ServerOptions(max_body_bytes=100_000)) as address:
        command.append(f"{address}/openapi.json")
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Tested: 12" in result.stdout
