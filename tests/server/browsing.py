"""A real Chromium, and a page that is watched while a test uses it."""

import os
import shutil
import time
from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox",  # Chromium's own sandbox refuses to start for root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
PATIENCE_MS = 120_000
"""Machines that run tests may be slow; nothing is waited for that does not come."""

expect.set_options(timeout=PATIENCE_MS)


def chromium_path():
    """Where the system's Chromium is, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium(home):
    """Run Chromium; what it writes goes to the folder `home`."""
    environment = {**os.environ, "HOME": str(home)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS, env=environment)
        yield browser
        browser.close()


class Visit:
    """A tab of its own browser profile, and all that went wrong in it."""

    def __init__(self, browser, address, **options):
        self.address = address
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.problems = []
        self.context.on("page", self._watch)
        self.page = self.context.new_page()

    def _watch(self, page):
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("dialog", lambda dialog: (self._note("error", f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._check(request.url))

    def _note(self, kind, text):
        if kind in ("error", "warning"):
            self.problems.append(text)

    def _check(self, url):
        if not url.startswith((f"{self.address}/", "data:", "blob:")):
            self.problems.append(f"a request to {url}")

    def forgive(self, *texts):
        """Take from the problems those that a test expects: each text must be in one of them."""
        for text in texts:
            assert any(text in problem for problem in self.problems), (text, self.problems)
        self.problems = [problem for problem in self.problems if not any(text in problem for text in texts)]

    def open(self, path="/"):
        self.page.goto(self.address + path)
        expect(self.field).to_be_focused()
        return self.page

    @property
    def field(self):
        return self.page.locator("#message")

    @property
    def replies(self):
        return self.page.locator("li.message.assistant")

    def say(self, text):
        """Send a message by the keyboard."""
        self.field.fill(text)
        self.field.press("Enter")

    def ask(self, text):
        """Send a message and wait until its reply has ended; returns the reply."""
        before = self.replies.count()
        self.say(text)
        expect(self.replies).to_have_count(before + 1)
        reply = self.replies.nth(before)
        expect(reply.get_by_role("button", name="Write the reply again")).to_be_visible()
        return reply

    def close(self):
        self.context.close()


def rename(page, title, new):
    """Give a conversation of the list another name by the keyboard."""
    name = begin_to_rename(page, title)
    name.fill(new)
    name.press("Enter")


def begin_to_rename(page, title):
    """The field for another name of a conversation of the list."""
    page.get_by_role("button", name=f"Rename {title}").focus()
    page.keyboard.press("Enter")
    return page.get_by_role("textbox", name="New name")


def until(condition):
    """Wait for what the server does."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
