"""Tests that need the sandbox say so with the fixture `sandbox`."""

import os

import pytest

from fulmen.tools.sandbox import SandboxUnavailable, check_sandbox


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Skip where no sandbox can be had; FULMEN_REQUIRE_SANDBOX, which continuous integration sets, makes it fail."""
    try:
        check_sandbox()
    except SandboxUnavailable as error:
        if os.environ.get("FULMEN_REQUIRE_SANDBOX"):
            raise
        pytest.skip(f"no sandbox on this machine: {error}")
