"""What goes wrong on the chat page: markup from the model that tries to run, servers that refuse, fail or vanish."""

import json

import pytest
from browsing import rename, until
from playwright.sync_api import expect
from scripted import Script
from serving import running

from fulmen.engine.request import ContextTooLong, QueueFull
from fulmen.engine.service import EngineFailed
from fulmen.server.served_model import ServerOptions

pytestmark = pytest.mark.timeout(1500)

PAYLOADS = [
    "<script>pwned()</script>",
    "<img src=x onerror=pwned()>",
    "<svg onload=pwned()><script>pwned()</script></svg>",
    "<iframe srcdoc='<script>parent.pwned()</script>'></iframe>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror=pwned()&gt;'>",
    "<details open ontoggle=pwned()><input autofocus onfocus=pwned()>",
    "<style>@import 'https://evil.example/a.css';</style>",
    "<form action=https://evil.example/><button>Go</button></form>",
    "<base href=https://evil.example/><meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<object data=https://evil.example/></object><embed src=https://evil.example/>",
    "[a](javascript:pwned()) [b](JaVaScRiPt&colon;pwned()) [c](java\tscript:pwned())",
    "[a](data:text/html,<script>pwned()</script>) [b](vbscript:pwned()) <javascript:pwned()>",
    "[x]\n\n[x]: javascript:pwned()",
    "![a](javascript:pwned()) ![b](https://evil.example/pixel.png) ![c](data:image/svg+xml,<svg/onload=pwned()>)",
    '![a"onerror="pwned()](data:image/png;base64,AAAA"onerror="pwned())',
    '[a](https://example.org/"onmouseover="pwned() "t\'\\"onclick=pwned()")',
    "$\\href{javascript:pwned()}{x}$ $\\url{javascript:pwned()}$",
    "$\\htmlData{x=1}{y}$ $\\htmlStyle{background:url(https://evil.example/)}{y}$",
    "$\\includegraphics{https://evil.example/a.png}$",
    "$$\\text{<img src=x onerror=pwned()>}$$",
    '$\\text{ style="background:url(https://evil.example/)"}$',
    "$\\color{red;background:url(https://evil.example/)}x$",
    '```html"><img/src=x/onerror=pwned()>\n<script>pwned()</script>\n```',
    "`<img src=x onerror=pwned()>` **<b onclick=pwned()>**",
    "| <img src=x onerror=pwned()> |\n|---|\n| [a](javascript:pwned()) |",
    "<div class=math data-display=true>\\href{javascript:pwned()}{x}</div>",
    "<button class=copy onclick=pwned()>Copy</button>",
]

HOSTILE = """(root) => {
  const wrong = [];
  const never = "script, iframe, object, embed, style, link, base, meta, svg a, use, foreignObject, input, form,"
    + "button:not(.copy)";
  for (const element of root.querySelectorAll("*")) {
    if (element.matches(never)) wrong.push(element.outerHTML);
    for (const { name, value } of element.attributes) {
      if (name.startsWith("on")) wrong.push(`${name}=${value}`);
      if (["href", "src", "xlink:href", "action", "srcdoc", "formaction"].includes(name)
        && !/^(https?:|mailto:|data:image\\/(png|jpeg|gif|webp);base64,)/.test(value)) wrong.push(`${name}=${value}`);
      if (name === "src" && !value.startsWith("data:")) wrong.push(`${name}=${value}`);
      if (name === "style" && value.includes("url")) wrong.push(value);
    }
  }
  return wrong;
}"""


@pytest.fixture
def trap(visiting):
    """A visit whose console says it when a payload has run."""
    visit = visiting()
    visit.context.add_init_script("window.pwned = () => console.error('pwned')")
    visit.open()
    return visit


def test_no_markup_of_the_model_runs_however_it_is_cut(trap):
    """Each payload, and each beginning of it, as it stands there while it streams."""
    differing = trap.page.evaluate(
        """async (payloads) => {
          const { renderMarkdown } = await import("/page/markdown.js");
          const box = () => document.body.appendChild(document.createElement("div"));
          return payloads.filter((payload) => {
            const growing = box();
            for (let end = 1; end <= payload.length; end++) renderMarkdown(growing, payload.slice(0, end));
            const whole = box();
            renderMarkdown(whole, payload);
            return whole.innerHTML !== growing.innerHTML;
          });
        }""",
        PAYLOADS,
    )
    assert not differing
    boxes = trap.page.locator("body > div:not(#app)")
    assert boxes.count() == 2 * len(PAYLOADS)
    for box in boxes.all():
        assert not box.evaluate(HOSTILE)
    trap.page.get_by_role("button", name="New conversation").first.click()  # whatever was queued has had its turn


def test_no_script_from_thinking_text_tools_and_results(trap, say):
    name = "<img src=x onerror=pwned()>"
    text = "\n\n".join(PAYLOADS[:20])
    call = json.dumps({"name": name, "arguments": {name: PAYLOADS[0]}})
    say(f"<think>\n{text}\n</think>\n\n{text}\n<tool_calls>\n{call}\n</tool_calls>", "Done.")
    page = trap.page
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Tools, as a JSON list").fill(json.dumps([{"name": name}]))
    page.get_by_role("button", name="Save").click()
    reply = trap.ask(PAYLOADS[1])
    reply.locator("details.thinking summary").click()
    card = page.get_by_role("region", name=f"Call of {name}")
    expect(card.locator("header code")).to_have_text(name)
    expect(card.get_by_role("region", name="Arguments")).to_contain_text("<script>pwned()</script>")
    card.get_by_role("textbox").fill(PAYLOADS[2])
    page.get_by_role("button", name="Send the result").click()
    expect(trap.replies.nth(1)).to_contain_text("Done.")
    expect(card.get_by_role("region", name="Result")).to_have_text(PAYLOADS[2])
    expect(page.get_by_role("heading", level=1)).to_have_text(PAYLOADS[1])
    for prose in page.locator(".prose, .data, .said, h1, .entry .open").all():
        assert not prose.evaluate(HOSTILE)


def test_policy_stops_what_would_get_past_the_sanitiser(trap):
    outcomes = trap.page.evaluate(
        """async () => {
          // From a timer: what a debugger evaluates itself may use eval.
          const attempt = (action) => new Promise((resolve) => setTimeout(async () => {
            try { await action(); resolve("ran"); } catch (error) { resolve(error.name); }
          }));
          const div = document.body.appendChild(document.createElement("div"));
          return [
            await attempt(() => { div.innerHTML = "<img src=x onerror=pwned()>"; }),
            await attempt(() => { div.setAttribute("onclick", "pwned()"); div.click(); }),
            await attempt(() => fetch("https://evil.example/")),
            await attempt(() => new Function("pwned()")()),
          ];
        }"""
    )
    assert outcomes[0] == outcomes[2] == "TypeError"
    assert outcomes[3] == "EvalError"
    assert not any(problem == "pwned" for problem in trap.problems)
    trap.forgive("Content Security Policy", "evil.example", "TrustedHTML", "Trusted")


@pytest.mark.parametrize(
    ("refusal", "title", "status"),
    [
        (QueueFull("9 requests wait already"), "The server is busy", 429),
        (ContextTooLong("the prompt has 10 tokens; the context is 5"), "too long for the model", 400),
        (EngineFailed("out of memory"), "The server failed", 500),
    ],
)
def test_refusal_is_explained_and_tried_again(visit, say, served, refusal, title, status):
    say("At last.")
    served.service.refusal = refusal
    visit.say("Hello")
    alert = visit.page.get_by_role("alert")
    expect(alert).to_contain_text(title)
    if status != 500:
        expect(alert).to_contain_text(str(refusal))
    if status == 429:
        expect(alert).to_contain_text("Try again in 1 s")
    served.service.refusal = None
    alert.get_by_role("button", name="Try again").click()
    expect(visit.replies).to_have_count(1)
    expect(visit.replies).to_contain_text("At last.")
    expect(alert).to_have_count(0)
    assert "Hello" in served.service.prompts()[0]
    visit.forgive(f"status of {status}")


def test_failure_in_the_middle_keeps_what_has_come(visit, say):
    say(Script(text="Begun well", fails_after=5), "Whole.")
    visit.say("Hello")
    expect(visit.replies).to_contain_text("Begun")
    expect(visit.page.get_by_role("alert")).to_contain_text("The server failed")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.replies).to_contain_text("Whole.")
    expect(visit.page.get_by_label("Branch 2 of 2")).to_be_visible()


def test_a_stream_that_was_garbled_is_tried_again(visit, say):
    say("Whole.")
    garbled = {"body": "data: {no json\n\n", "content_type": "text/event-stream"}
    visit.context.route("**/v1/chat/completions", lambda route: route.fulfill(**garbled))
    visit.say("Hello")
    expect(visit.page.get_by_role("alert")).to_contain_text("garbled the reply")
    visit.context.unroute("**/v1/chat/completions")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.replies).to_contain_text("Whole.")


def test_server_that_can_not_be_reached(visit, say):
    say("Back again.")
    expect(visit.page.locator("header.top .model")).to_contain_text("scripted")
    visit.context.set_offline(True)
    visit.say("Hello")
    expect(visit.page.get_by_role("alert")).to_contain_text("The server doesn\u2019t answer")
    visit.context.set_offline(False)
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.replies).to_contain_text("Back again.")
    visit.forgive("ERR_INTERNET_DISCONNECTED")


def test_server_that_dies_in_the_middle(visiting, served, say):
    say(Script(text="Begun, never ended", holds_behind="Begun"))
    with running(served) as address:
        visit = visiting(address)
        visit.open()
        visit.say("Hello")
        expect(visit.replies.locator(".prose")).to_have_text("Begun")
    expect(visit.page.get_by_role("alert")).to_contain_text("The connection broke")
    expect(visit.replies.locator(".prose")).to_have_text("Begun")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.page.get_by_role("alert")).to_contain_text("The server doesn\u2019t answer")
    visit.forgive("net::ERR_")


def test_model_that_is_not_known_at_first(visiting, say):
    visit = visiting()
    visit.context.route("**/v1/models", lambda route: route.abort())
    visit.open()
    expect(visit.page.get_by_role("alert")).to_contain_text("can\u2019t tell which model")
    visit.context.unroute("**/v1/models")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.page.get_by_role("alert")).to_have_count(0)
    expect(visit.page.locator("header.top .model")).to_contain_text("scripted")
    visit.forgive("net::ERR_FAILED")


def test_server_that_has_another_model_now(visiting, say):
    say("I am new here.")
    card = {"id": "gone", "max_model_len": 1000, "thinks": False, "thinking_budget": None}
    visit = visiting()
    visit.context.route("**/v1/models", lambda route: route.fulfill(json={"data": [card]}))
    visit.open()
    expect(visit.page.locator("header.top .model")).to_contain_text("gone")
    visit.context.unroute("**/v1/models")
    visit.say("Hello")
    expect(visit.page.get_by_role("alert")).to_contain_text("another model now")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.replies).to_contain_text("I am new here.")
    expect(visit.page.locator("header.top .model")).to_contain_text("scripted")
    visit.forgive("status of 404")


def test_api_key(visiting, served, say):
    say("Come in.")
    with running(served, ServerOptions(api_keys=("first", "\u043a\u043b\u044e\u0447"))) as address:
        visit = visiting(address)
        visit.page.goto(address)
        dialog = visit.page.get_by_role("dialog", name="API key")
        field = dialog.get_by_label("Key")
        expect(field).to_be_focused()
        field.fill("wrong")
        field.press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text("the API key is wrong")
        field.fill("\u043a\u043b\u044e\u0447")
        field.press("Enter")
        expect(dialog).to_have_count(0)
        visit.ask("Hello")
        assert visit.page.evaluate("JSON.stringify({...localStorage})").count("\u043a\u043b\u044e\u0447") == 0
        visit.page.reload()
        expect(visit.page.locator("header.top .model")).to_contain_text("scripted")
        expect(dialog).to_have_count(0)

        visit.page.evaluate("sessionStorage.clear()")  # as if the server had other keys now
        visit.say("And again")
        dialog.get_by_role("button", name="Close").click()
        expect(visit.page.get_by_role("alert")).to_contain_text("asks for an API key")
        visit.page.get_by_role("button", name="Enter a key").click()
        field.fill("first")
        field.press("Enter")
        expect(visit.page.get_by_role("alert")).to_have_count(0)
        expect(visit.replies.last).to_contain_text("Come in.")
        visit.forgive("status of 401")


def test_browser_without_room(visit, say):
    say("Said nonetheless.")
    session = visit.context.new_cdp_session(visit.page)
    session.send("Storage.overrideQuotaForOrigin", {"origin": visit.address, "quotaSize": 1})
    visit.ask("Hello")
    expect(visit.replies).to_contain_text("Said nonetheless.")
    notice = visit.page.get_by_role("alert")
    expect(notice).to_contain_text("no room left")
    session.send("Storage.overrideQuotaForOrigin", {"origin": visit.address})
    notice.get_by_role("button", name="Dismiss").click()
    visit.ask("Once more")
    expect(notice).to_have_count(0)
    visit.page.reload()
    expect(visit.replies).to_have_count(2)


def test_browser_that_keeps_nothing(visiting, say):
    say("Hello.")
    visit = visiting()
    visit.context.add_init_script(
        "IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); }"
    )
    visit.open()
    expect(visit.page.get_by_role("alert")).to_contain_text("keeps nothing")
    visit.ask("Hi")
    expect(visit.page.get_by_role("navigation").get_by_role("listitem")).to_have_count(1)
    rename(visit.page, "Hi", "Greeting")
    expect(visit.page.get_by_role("heading", level=1)).to_have_text("Greeting")
    visit.ask("Hi again")
    expect(visit.page.get_by_role("navigation").get_by_role("listitem")).to_have_text("Greeting")


def test_reply_that_was_cut_says_why(visit, say):
    say(Script(text="Too lo", finish_reason="length"))
    expect(visit.ask("Long")).to_contain_text("reached its limit of tokens")
    say(Script(text="same same", finish_reason="repetition"))
    expect(visit.ask("Again")).to_contain_text("the reply repeated itself")


def test_export(visit, say):
    say("<think>\nhm\n</think>\n\nIn ```` fences.")
    visit.ask("Export/me")
    for item, name in (("As Markdown", "Export-me.md"), ("As JSON", "Export-me.json")):
        menu = visit.page.locator("summary[aria-label=Export]")
        menu.click()
        menu.press("Escape")
        expect(visit.page.get_by_role("button", name=item)).to_be_hidden()
        menu.press("Enter")
        with visit.page.expect_download() as download:
            visit.page.get_by_role("button", name=item).click()
        assert download.value.suggested_filename == name
        text = download.value.path().read_text(encoding="utf-8")
        assert "In ```` fences." in text
        assert "hm" in text
    nodes = json.loads(text)["nodes"].values()
    assert [node["role"] for node in nodes] == ["user", "assistant"]


def test_stream_is_read_however_its_bytes_are_cut(visit):
    data = ': ping\n\ndata: {"a": "\u00e9\U0001f642"}\n\nevent: x\ndata: one\ndata: two\n\ndata: [DONE]\n\n'
    read = visit.page.evaluate(
        """async ([text, sizes]) => {
          const { events } = await import("/page/api.js");
          const bytes = new TextEncoder().encode(text);
          const all = [];
          for (const size of sizes) {
            const pieces = [];
            for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
            const found = [];
            for await (const data of events(new ReadableStream({
              start(controller) {
                for (const piece of pieces) controller.enqueue(piece);
                controller.close();
              },
            }))) found.push(data);
            all.push(found);
          }
          return all;
        }""",
        [data, [1, 2, 3, 5, 7, 1000]],
    )
    assert read == [['{"a": "\u00e9\U0001f642"}', "one\ntwo", "[DONE]"]] * 6


def test_stopping_while_the_server_still_waits(visit, say, served):
    say(Script(text="Never", holds_behind=""))
    visit.say("Hello")
    expect(visit.replies).to_contain_text("Waiting for the first token")
    visit.page.get_by_role("button", name="Stop the reply").click()
    expect(visit.replies).to_contain_text("You stopped this reply.")
    until(lambda: not served.service.num_open)
