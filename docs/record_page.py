"""Photograph the chat page: `python docs/record_page.py docs/images`.

A real Chromium in front of a real server; the model behind it is the tests' script, so that the pictures can be made
again anywhere. The thinking, the tool call and the answers are written down here, the rest is what the page does.
Needs Chromium and the dev extra.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "server"))

from browsing import PHONE, Visit, chromium
from playwright.sync_api import Page
from scripted import Script, ScriptedService, byte_tokenizer
from serving import running

from fulmen.chat.template import ChatTemplate
from fulmen.server.served_model import ServedModel

SECONDS_PER_TOKEN = 0.004
CALL = '{"name": "get_weather", "arguments": {"city": "Bergen", "unit": "celsius"}}'
WEATHER = [
    Script(
        text="<think>\nThe user plans a walk in Bergen and wants to know what to wear. I have get_weather; the weather "
        "now decides more than the climate does, so I ask for it first and answer from what comes back.\n</think>\n\n"
        f"I will look at the weather there first.\n<tool_calls>\n{CALL}\n</tool_calls>",
        delay=SECONDS_PER_TOKEN,
    ),
    Script(
        text="It rains lightly at **9 \u00b0C** in Bergen, with a fresh wind from the west.\n\n"
        "- **A rain jacket**, not an umbrella: the wind is at 11 m/s.\n"
        "- A warm layer below it; it feels like 5 \u00b0C.\n"
        "- Shoes that may get wet.\n\nThe rain ends towards six, so a later start is the drier one.",
        cached_tokens=1_088,
        delay=SECONDS_PER_TOKEN,
    ),
]
ATTENTION = Script(
    text="<think>\nRecurrence, then code.\n</think>\n\n"
    "Each head keeps one matrix and lets it fade, so a token costs the same at any length:\n\n"
    "$$S_t = e^{-s}\\,S_{t-1} + k_t^{\\top} v_t, \\qquad o_t = q_t\\,S_t$$\n\n"
    "Softmax attention would need $O(n)$ memory for $n$ tokens; here it is $O(d^2)$. As code:\n\n"
    "```python\ndef step(state, q, k, v, slope):\n"
    '    """One token of one head: state is [d, d], q, k and v are [d]."""\n'
    "    state = torch.exp(-slope) * state + torch.outer(k, v)\n"
    "    return q @ state, state  # no softmax, no growing cache\n```\n\n"
    "| | per token | memory |\n|---|---|---|\n| softmax | $O(n\\,d)$ | $O(n\\,d)$ |\n"
    "| lightning | $O(d^2)$ | $O(d^2)$ |\n",
    delay=SECONDS_PER_TOKEN,
)


def photograph(page: Page, file: Path) -> None:
    """Save what the window shows."""
    page.mouse.move(0, 0)
    page.screenshot(path=file, animations="disabled")
    print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")


def weather(visit: Visit, folder: Path) -> None:
    """Thinking, a tool call that is answered by hand, and the reply that uses it."""
    page = visit.open()
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="Insert an example").click()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("slider").fill("5")
    visit.ask("I am in Bergen and want to walk for two hours. What should I wear?")
    page.get_by_label("Result of get_weather").fill('{"temperature": 9, "rain": "light", "wind": "11 m/s W"}')
    page.get_by_role("button", name="Send the result").click()
    visit.replies.nth(1).get_by_role("button", name="Write the reply again").wait_for()
    page.locator("details.thinking summary").click()
    photograph(page, folder / "page-light.png")


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    service = ScriptedService(byte_tokenizer())
    served = ServedModel(
        name="MiniMax-M1",
        service=service,
        tokenizer=service.tokenizer,
        template=ChatTemplate.minimax_m1(),
        max_context=1_000_000,
        thinking_budget=40_000,
    )
    with tempfile.TemporaryDirectory() as home, running(served) as address, chromium(Path(home)) as browser:
        visit = Visit(browser, address, viewport={"width": 1280, "height": 1040}, color_scheme="light")
        service.say(*WEATHER)
        weather(visit, folder)
        service.say(ATTENTION)
        visit.page.emulate_media(color_scheme="dark")
        visit.page.get_by_role("button", name="New conversation").click()
        visit.ask("How does lightning attention work, in one formula and five lines of Python?")
        photograph(visit.page, folder / "page-dark.png")
        visit = Visit(browser, address, **PHONE)
        visit.open()
        service.say(ATTENTION)
        visit.ask("How does lightning attention work?")
        photograph(visit.page, folder / "page-phone.png")


if __name__ == "__main__":
    main()
