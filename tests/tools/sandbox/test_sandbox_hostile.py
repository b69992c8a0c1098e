"""The hostile suite: every attack at once, as root and as an ordinary user, and the host as it was before."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_attacks import ATTACKS
from sandbox_suite import Host, job_files

SUITE = Path(__file__).with_name("sandbox_suite.py")
NOBODY = "65534"
USERS = {"root": [], "ordinary user": ["--user", NOBODY]} if os.geteuid() == 0 else {"ordinary user": []}
# What may safely be tried without a sandbox: there these must succeed, or the suite could see no escape.
HARMLESS = ["network", "reading outside", "environment", "other processes"]


@pytest.mark.timeout(1800)  # it takes seconds, and many of them where others use the machine
@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("arguments", USERS.values(), ids=USERS)
def test_no_attack_escapes_and_honest_programs_go_on(arguments: list[str]) -> None:
    # The user that it becomes must be able to make temporary files.
    environment = {**os.environ, "TMPDIR": "/tmp"}
    command = [sys.executable, str(SUITE), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert len(found) == 64 + 1
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize("name", HARMLESS)
def test_the_attacks_would_be_seen_to_escape(name: str, tmp_path: Path) -> None:
    host = Host()
    try:
        for file, data in job_files(host).items():
            (tmp_path / file).write_bytes(data)
        program = [sys.executable, "-c", "from attack import *\n" + ATTACKS[name].source]
        run = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "ESCAPED" in run.stdout, run.stdout + run.stderr
        if name == "network":
            assert host.damage().count("connected") == 3  # TCP, abstract and socket file
    finally:
        host.close()
