"""Photograph spark on the chat page: `python docs/record_spark_page.py docs/images`.

The page leaves tools to its user, and this script is the user: it writes their schemas into the options, asks, makes
each call with real tools, fills in the result and presses Send. The tools are the calculator, the search in a folder of
documents, and an MCP server whose tools spark has never seen. What spark writes is not scripted. Needs Chromium and the
dev extra.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "server"))

from anyio.from_thread import BlockingPortal, start_blocking_portal
from browsing import Visit, chromium
from serving import running as serving

from fulmen.chat.message import ToolCall
from fulmen.cli.running import load, running
from fulmen.server.served_model import ServedModel
from fulmen.tools.builtin import builtin_tools
from fulmen.tools.mcp_client import McpConnection
from fulmen.tools.mcp_endpoint import endpoint_from_text
from fulmen.tools.registry import ToolRegistry

EXAMPLES = Path(__file__).with_name("examples")
CONVERSATIONS = {
    "documents": (("search_documents", "read_file"), ("When was Brackwater founded?",)),
    "tools": (("find_ferry", "reserve_seats"), ("When does the ferry leave Brackwater?",)),
    "calculator": (("calculator",), ("Calculate 4817 * 392.",)),
}
"""By the name of the picture: the tools of a conversation, and what is asked."""


@asynccontextmanager
async def connected_tools() -> AsyncIterator[ToolRegistry]:
    """The calculator, the search in the example documents, and the example MCP server."""
    registry = ToolRegistry([*builtin_tools("calculator"), *builtin_tools(f"documents:{EXAMPLES / 'village'}")])
    async with McpConnection(endpoint_from_text(f"ferry={sys.executable} {EXAMPLES / 'ferry.py'}")) as ferry:
        await ferry.attach(registry)
        yield registry


def answer_calls(visit: Visit, registry: ToolRegistry, portal: BlockingPortal) -> bool:
    """Make the calls of the last reply and send their results; False if it has none."""
    cards = visit.replies.last.locator("section.call")
    for index in range(cards.count()):
        card = cards.nth(index)
        name = card.get_attribute("aria-label").removeprefix("Call of ")
        call = ToolCall(id="call", name=name, arguments=card.locator("pre").first.text_content())
        result = portal.call(registry.call, call)
        print(f"{name} {json.loads(call.arguments)} -> {result.content}")
        card.get_by_label(f"Result of {name}").fill(result.content)
    if not cards.count():
        return False
    before = visit.replies.count()
    visit.replies.last.get_by_role("button", name="Send the result").click()
    visit.replies.nth(before).get_by_role("button", name="Write the reply again").wait_for()
    return True


def converse(
    visit: Visit, registry: ToolRegistry, portal: BlockingPortal, names: Sequence[str], questions: Sequence[str]
) -> None:
    """Ask the questions in one conversation, with the tools of these names."""
    page = visit.open()
    page.get_by_role("button", name="Options").click()
    tools = [tool.to_openai() for tool in registry.specs() if tool.name in names]
    page.get_by_label("Tools, as a JSON list").fill(json.dumps(tools))
    page.get_by_label("Temperature").fill("0")
    page.get_by_role("button", name="Save").click()
    for question in questions:
        visit.ask(question)
        while answer_calls(visit, registry, portal):
            pass
        print(f"{question} {visit.replies.last.inner_text()}")


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with (
        running(load("spark")) as run,
        serving(
            ServedModel(
                name=run.name,
                service=run.service,
                tokenizer=run.tokenizer,
                template=run.template,
                max_context=run.service.max_context,
            )
        ) as address,
        tempfile.TemporaryDirectory() as home,
        chromium(Path(home)) as browser,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(connected_tools()) as registry,
    ):
        for picture, (names, questions) in CONVERSATIONS.items():
            visit = Visit(browser, address, viewport={"width": 1100, "height": 1440}, color_scheme="light")
            converse(visit, registry, portal, names, questions)
            visit.page.screenshot(path=folder / f"page-{picture}.png", animations="disabled")
            assert not visit.problems, visit.problems


if __name__ == "__main__":
    main()
