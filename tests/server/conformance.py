"""Two public checkers against `fulmen serve` with a real model: `make conformance` runs this.

CompatCanary (npm) probes what an OpenAI-compatible API must do; llm-comply (PyPI) also checks each answer against the
schemas of OpenAI's chat completions and of Open Responses. Full marks are asked for: nothing fails, nothing is
warned of, and nothing is left out but what `LEFT_OUT` names. docs/conformance.md tells more.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

MODEL = "smollm2-135m"
FORMATS = ("openai-chat", "open-responses")
LEFT_OUT = {"chat-reasoning-summary", "reasoning-summary"}
"""llm-comply asks these of models alone whose names say that they reason, as o1 and gpt-5 do."""
REQUEST_SECONDS = 600
"""Patience with a busy machine; no check takes more than a few seconds on an idle one."""
START_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a checker says of one thing that it looked at."""

    name: str
    mark: str
    """pass, or what its checker calls anything else."""
    notes: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether it got its full mark, or may be left out."""
        return self.mark == "pass" or (self.mark == "skipped" and self.name in LEFT_OUT)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run `fulmen serve` on a free port, its log in `folder`; yields the address of its API."""
    log = folder / "server.log"
    # Greedy and in float32, so that another machine says the same.
    options = ["--port", "0", "--temperature", "0", "--quantize", "none"]
    command = [sys.executable, "-m", "fulmen", "serve", MODEL, *options]
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            end = time.monotonic() + START_SECONDS
            while not (found := re.search(r"http://127\.0\.0\.1:\d+/v1", log.read_text())):
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"fulmen serve did not start:\n{log.read_text()}")
                time.sleep(0.1)
            yield found[0]
        finally:
            process.terminate()


def compatcanary(script: Path, address: str, folder: Path) -> tuple[str, list[Check]]:
    """Run all of CompatCanary's probes: its profile `modern`. Returns a line that sums up, and the checks."""
    report = folder / "compatcanary.json"
    command = [
        "node", script, "scan", "--base-url", address, "--model", MODEL, "--profile", "modern", "--api-key", "none",
        "--timeout", str(REQUEST_SECONDS), "--fail-on", "never", "--format", "json", "--output", report,
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = json.loads(report.read_text())
    title = f"CompatCanary {found['scanner']['version']}, profile {found['target']['profile']}: {found['score']}/100"
    results = found["results"]
    return title, [Check(name=result["id"], mark=result["status"], notes=(result["summary"],)) for result in results]


def llm_comply(form: str, address: str) -> tuple[str, list[Check]]:
    """Run llm-comply's checks of one API. Returns a line that sums up, and the checks."""
    command = [
        sys.executable, "-m", "llm_comply.cli", "--format", form, "-u", address, "-k", "none", "-m", MODEL,
        "--timeout", str(REQUEST_SECONDS), "--json",
    ]  # fmt: skip
    output = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(output)
    numbers = ", ".join(f"{number} {word}" for word, number in found["summary"].items())
    checks = []
    for result in found["results"]:
        warnings, mark = result.get("warnings", []), result["status"]
        if mark == "passed":
            mark = "warn" if warnings else "pass"
        checks.append(Check(name=result["id"], mark=mark, notes=(*result.get("errors", []), *warnings)))
    return f"llm-comply {version('llm-comply')}, format {form}: {numbers}", checks


def main() -> int:
    """Run both against one server and return the exit status: 0 for full marks."""
    script = Path(sys.argv[1])
    lacking = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as address:
        runs = [partial(compatcanary, script, address, Path(folder))]
        runs += [partial(llm_comply, form, address) for form in FORMATS]
        for run in runs:
            title, checks = run()
            print(title)
            for check in checks:
                print(f"  {check.mark.upper():8}{': '.join([check.name, *check.notes])}", flush=True)
            lacking += [check.name for check in checks if not check.full]
    if lacking:
        print(f"Conformance: {len(lacking)} checks lack their full marks: {', '.join(lacking)}")
        return 1
    print(f"Conformance: full marks; llm-comply itself left out {', '.join(sorted(LEFT_OUT))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
