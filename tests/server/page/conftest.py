"""Visits to the chat page in a real Chromium, before a real server whose model is a script.

Every visit is watched: a console message, an uncaught error, a dialog or a request to another host that the test did
not expect fails it. Conditions are waited for; nothing sleeps.
"""

import dataclasses
import os

import pytest
from browsing import Visit, chromium, chromium_path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if chromium_path() is None:
        reason = "no chromium on this machine: apt install chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with chromium(tmp_path_factory.mktemp("home")) as browser:
        yield browser


@pytest.fixture(scope="module")
def served(served):
    """The scripted model with room for a conversation and a budget to think."""
    return dataclasses.replace(served, max_context=100_000, thinking_budget=8_000)


@pytest.fixture
def visiting(browser, address):
    """Makes visits; all that they saw must have been expected."""
    visits = []

    def visit(at=address, **options):
        visits.append(Visit(browser, at, **options))
        return visits[-1]

    yield visit
    for visit in visits:
        problems = visit.problems
        visit.close()
        assert not problems


@pytest.fixture
def visit(visiting):
    visit = visiting()
    visit.open()
    return visit
