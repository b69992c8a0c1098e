"""How the chat page looks: on a phone, in both themes, and what becomes of Markdown, mathematics and code."""

import re

import pytest
from browsing import PHONE, until
from playwright.sync_api import expect

pytestmark = pytest.mark.timeout(1500)


def test_phone(visiting, say):
    visit = visiting(**PHONE)
    page = visit.open()
    say("```python\n" + "wide = " * 40 + "1\n```\n\n| a | b |\n|---|---|\n| " + "w" * 90 + " | 2 |\n\n" + "x" * 120)
    visit.ask("Something wide " * 5)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    overflow = page.evaluate(
        "[...document.querySelectorAll('.prose > .block, .said, .composer, header.top')]"
        ".filter((e) => e.getBoundingClientRect().right > innerWidth).length"
    )
    assert overflow == 0
    for element in (visit.field, page.get_by_role("button", name="Send the message"), page.get_by_role("slider")):
        box = element.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 844
    sidebar = page.get_by_role("searchbox")
    expect(sidebar).to_be_hidden()
    page.get_by_role("button", name="Conversations").tap()
    expect(sidebar).to_be_visible()
    page.get_by_role("button", name=re.compile("^Something wide"), exact=True).first.tap()
    expect(sidebar).to_be_hidden()
    page.get_by_role("button", name="New conversation").last.tap()
    expect(visit.replies).to_have_count(0)


CONTRAST = """() => {
  const probe = document.body.appendChild(document.createElement("i"));
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (name) => {
    probe.style.color = `var(${name})`;
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = Array.from(canvas.getImageData(0, 0, 1, 1).data, (v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pairs = [["--ink", "--paper"], ["--muted", "--paper"], ["--muted", "--side"], ["--muted", "--sunken"],
    ["--ink", "--accent-soft"], ["--accent", "--accent-soft"], ["--accent-ink", "--accent"], ["--danger", "--paper"],
    ["--good", "--good-soft"], ["--ink", "--danger-soft"], ["--code-word", "--surface"], ["--code-text", "--surface"],
    ["--code-number", "--surface"], ["--code-name", "--surface"], ["--code-type", "--surface"]];
  return pairs.map(([a, b]) => {
    const [dim, bright] = [light(a), light(b)].sort((x, y) => x - y);
    return [a, b, (bright + 0.05) / (dim + 0.05)];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_themes(visiting, scheme):
    visit = visiting(color_scheme=scheme)
    page = visit.open()

    def background():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    by_system = background()
    assert by_system == {"light": "rgb(247, 248, 252)", "dark": "rgb(16, 19, 30)"}[scheme]
    for first, second, ratio in page.evaluate(CONTRAST):
        assert ratio >= 4.5, (first, second)
    page.get_by_role("button", name="Theme: auto").click()
    page.get_by_role("button", name="Theme: light").click()
    chosen = page.get_by_role("button", name="Theme: dark")
    expect(chosen).to_be_visible()
    assert background() == "rgb(16, 19, 30)"
    page.reload()
    expect(chosen).to_be_visible()
    assert background() == "rgb(16, 19, 30)"


def test_markdown_mathematics_and_code(visit, say):
    say(
        "# Title\n\nInline $a^2$ and \\(b\\), 5$ and 6$ stay.\n\n$$\\sqrt{\\vec x} + \\overbrace{y}$$\n\n"
        "```python\ndef f():\n    return '<b>'\n```\n\n- [x] done\n\n$\\wrong{$ [site](https://example.org/a)"
    )
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reply = visit.ask("Show")
    expect(reply.get_by_role("heading", level=3)).to_have_text("Title")
    expect(reply.locator(".katex")).to_have_count(3)
    expect(reply.locator(".katex-display")).to_have_count(1)
    expect(reply.locator("p").first).to_contain_text("5$ and 6$ stay")
    assert reply.locator(".katex-display [style]").count() > 3  # set as properties: the policy forbids attributes
    expect(reply.locator("math").first).to_be_attached()  # for screen readers
    expect(reply.locator(".hljs-keyword").first).to_have_text("def")
    expect(reply.locator(".math.wrong")).to_have_text("\\wrong{")
    link = reply.get_by_role("link", name="site")
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
    reply.get_by_role("button", name="Copy the python code").click()
    until(lambda: visit.page.evaluate("navigator.clipboard.readText()") == "def f():\n    return '<b>'")


def test_streamed_text_looks_as_if_it_had_come_at_once(visit, say):
    say("One\n\n- a\n- b\n\n```js\nlet x = 1;\n```\n\nEnd")
    streamed = visit.ask("Stream").locator(".prose").inner_html()
    visit.page.reload()
    expect(visit.replies.get_by_text("End")).to_be_visible()
    assert visit.replies.locator(".prose").inner_html() == streamed
