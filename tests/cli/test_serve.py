"""`fulmen serve` as a process: it answers, and a SIGTERM lets running replies finish."""

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import openai

COMMAND = [sys.executable, "-m", "fulmen", "serve"]


@contextmanager
def serving(*arguments):
    """Run the server; yields the process and its address."""
    with subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield process, found[0]
                    break
            else:
                raise AssertionError("".join(lines))
        finally:
            process.kill()


def test_sigterm_lets_replies_finish_and_takes_no_new_ones(checkpoint):
    body = {"model": "tiny", "prompt": "Talk", "n": 8, "max_tokens": 800, "stream": True, "ignore_eos": True}
    with serving(checkpoint, "--port", 0, "--max-running", 1) as (process, address):
        with httpx.stream("POST", f"{address}/v1/completions", json=body, timeout=60) as stream:
            lines = (line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: "))
            chunks = [json.loads(next(lines))]
            process.send_signal(signal.SIGTERM)
            refused = httpx.post(f"{address}/v1/completions", json=body)
            assert refused.status_code == 503
            assert refused.json()["error"]["message"]
            assert httpx.get(f"{address}/health").status_code == 503
            *rest, end = list(lines)
            chunks += map(json.loads, rest)
        assert end == "[DONE]"
        reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
        assert reasons.count("length") == 8
        assert process.wait(timeout=20) == 0


def test_a_second_signal_ends_it_at_once(checkpoint):
    body = {"model": "tiny", "prompt": "Talk", "n": 64, "max_tokens": 1900, "stream": True, "ignore_eos": True}
    with (
        serving(checkpoint, "--port", 0, "--max-running", 1, "--drain-seconds", 60) as (process, address),
        httpx.stream("POST", f"{address}/v1/completions", json=body, timeout=60) as stream,
    ):
        lines = stream.iter_lines()  # kept: a dropped iterator closes the connection, which cancels the request
        next(lines)
        process.send_signal(signal.SIGTERM)
        assert httpx.get(f"{address}/health").status_code == 503
        signalled = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        assert time.monotonic() - signalled < 10, "the stop waited for the replies"


def test_keys_names_and_a_taken_port(checkpoint):
    with serving(checkpoint, "--port", 0, "--api-keys", "one,two") as (_, address):
        refused = httpx.get(f"{address}/v1/models")
        assert refused.status_code == 401
        with openai.OpenAI(base_url=f"{address}/v1", api_key="two") as client:
            assert [model.id for model in client.models.list()] == ["tiny"]
        command = [*COMMAND, str(checkpoint), "--port", address.rpartition(":")[2]]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "already in use; choose another --port" in result.stderr
    assert "Traceback" not in result.stderr
