"""Talking on the chat page: thinking, tools, stop, branches, what is kept, and all of it by keyboard."""

import json
import re

import pytest
from browsing import begin_to_rename, rename, until
from playwright.sync_api import expect
from scripted import Script

pytestmark = pytest.mark.timeout(1500)

CALL = '{"name": "get_weather", "arguments": {"city": "Bergen"}}'
THINKS = f"<think>\nThey want weather.\n</think>\n\nI look.\n<tool_calls>\n{CALL}\n</tool_calls>"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = json.dumps([{"name": "get_weather", "parameters": PARAMETERS}])


def set_tools(visit, text=TOOLS):
    """Describe tools in the options."""
    visit.page.get_by_role("button", name="Options").click()
    visit.page.get_by_label("Tools, as a JSON list").fill(text)
    visit.page.get_by_role("button", name="Save").click()


def test_thinking_and_a_tool_call(visit, say, served):
    say(Script(text=THINKS, cached_tokens=3), Script(text="It is **9 degrees**.", cached_tokens=70))
    set_tools(visit)
    reply = visit.ask("How warm is it in Bergen?")
    thinking = reply.locator("details.thinking")
    length = len("<think>\nThey want weather.\n</think>\n\n")
    expect(thinking.locator("summary")).to_contain_text("Thought for")
    shown = thinking.locator(".length").inner_text()
    assert re.fullmatch(r"\d+ of 8,000 tokens", shown)
    assert 0 < int(shown.split()[0]) <= length
    expect(thinking.get_by_text("They want weather.")).to_be_hidden()
    thinking.locator("summary").click()
    expect(thinking.get_by_text("They want weather.")).to_be_visible()
    card = reply.get_by_role("region", name="Call of get_weather")
    expect(card).to_contain_text("waiting")
    expect(card.get_by_role("region", name="Arguments")).to_have_text('{\n  "city": "Bergen"\n}')
    expect(visit.page.get_by_role("status")).to_contain_text("calls get_weather")
    card.get_by_label("Result of get_weather").fill("9 degrees, says the tool")
    visit.page.get_by_role("button", name="Send the result").click()
    answer = visit.replies.nth(1)
    expect(answer.locator("strong")).to_have_text("9 degrees")
    expect(card).to_contain_text("answered")
    prompt = served.service.prompts()[1]
    assert "9 degrees, says the tool" in prompt
    assert "They want weather." in prompt  # kept across the call
    expect(visit.page.get_by_role("status")).to_have_text("The reply is finished: It is 9 degrees.")
    gauges = visit.page.locator("dl.numbers")
    expect(gauges).to_contain_text("70 cached")
    total = len(served.service.requests[1][0]) + len("It is **9 degrees**.") + 1
    expect(gauges).to_contain_text(f"{total:,} / 100K")

    visit.page.get_by_role("button", name="Answer differently").click()
    card.get_by_label("Result of get_weather").fill("no data")
    visit.page.get_by_role("button", name="Send the result").click()
    expect(visit.page.get_by_label("Branch 2 of 2")).to_be_visible()
    until(lambda: len(served.service.requests) == 3)
    assert "no data" in served.service.prompts()[2]


@pytest.mark.parametrize(
    ("result", "is_json"),
    [('{"degrees": 9}', True), (' ["cold", "wet"]', True), ("[things.md:1-7] On the 9th of May", False), ("{9", False)],
)
def test_a_result_is_coloured_as_json_if_it_is_json(visit, say, result, is_json):
    say(Script(text=THINKS), "Fine.")
    set_tools(visit)
    card = visit.ask("How warm is it in Bergen?").get_by_role("region", name="Call of get_weather")
    field = card.get_by_label("Result of get_weather")
    field.fill(result)
    field.press("Control+Enter")
    shown = card.get_by_role("region", name="Result")
    expect(shown).to_have_text(result)
    assert (shown.locator("[class^=hljs]").count() > 0) == is_json


def test_two_calls_are_answered_together_and_may_be_passed_over(visit, say, served):
    say(f"<tool_calls>\n{CALL}\n{CALL}\n</tool_calls>", "Fine.")
    set_tools(visit)
    visit.ask("Twice")
    expect(visit.page.get_by_role("button", name="Send the results")).to_be_visible()
    visit.ask("Never mind")
    prompt = served.service.prompts()[1]
    assert prompt.count("gave no result") == 2
    assert prompt.index("gave no result") < prompt.index("Never mind")


def test_tools_with_mistakes_are_explained(visit):
    visit.page.get_by_role("button", name="Options").click()
    field, save = visit.page.get_by_label("Tools, as a JSON list"), visit.page.get_by_role("button", name="Save")
    state = visit.page.locator("#tools-state")
    for text, words in [
        ("[", "This is no JSON"), ("{}", "Tools are a list"), ("[3]", "Tool 1 is no object"),
        ('[{"name": ""}]', "Tool 1 has no name"), ('[{"name": "a"}, {"name": "a"}]', "Two tools are called a"),
    ]:  # fmt: skip
        field.fill(text)
        expect(state).to_contain_text(words)
        expect(save).to_be_disabled()
    field.fill(TOOLS)
    expect(state).to_contain_text("get_weather")
    expect(save).to_be_enabled()


def test_thinking_budget(visit, say, served):
    say("<think>\nhm\n</think>\n\nYes.")
    slider = visit.page.get_by_role("slider", name="Thinking")
    assert slider.get_attribute("aria-valuetext") == "8,000, as served"
    visit.ask("One")
    slider.focus()
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "none")
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "512 tokens")
    reply = visit.ask("Two")
    expect(reply.locator(".length")).to_contain_text("of 512 tokens")
    assert [params.thinking_budget.tokens for _, params in served.service.requests] == [8_000, 512]


@pytest.mark.parametrize("by_key", [False, True])
def test_stop(visit, say, served, by_key):
    say(Script(text="<think>\nI think.\n</think>\n\nBegun, never ended.", holds_behind="Begun"), "Afterwards.")
    visit.say("Go")
    expect(visit.replies.last.locator(".prose").last).to_have_text("Begun")
    if by_key:
        visit.page.keyboard.press("Escape")
    else:
        visit.page.get_by_role("button", name="Stop the reply").click()
    expect(visit.replies.last).to_contain_text("You stopped this reply.")
    until(lambda: not served.service.num_open)  # the engine's work has ended, too
    expect(visit.page.get_by_role("button", name="Send the message")).to_be_visible()
    expect(visit.field).to_be_focused()
    visit.ask("And now?")
    assert "Begun" in served.service.prompts()[1]


def test_regenerate_and_edit_keep_branches(visit, say, served):
    say("First answer", "Second answer", "Third answer")
    reply = visit.ask("A question")
    reply.get_by_role("button", name="Write the reply again").click()
    expect(visit.replies).to_have_text(re.compile("Second answer"))
    expect(visit.page.get_by_label("Branch 2 of 2")).to_be_visible()
    assert served.service.requests[0][0] == served.service.requests[1][0]
    visit.page.get_by_role("button", name="Earlier branch").click()
    expect(visit.replies).to_have_text(re.compile("First answer"))

    visit.page.get_by_role("button", name="Edit the message").click()
    editor = visit.page.get_by_role("textbox", name="Your message")
    expect(editor).to_be_focused()
    editor.fill("Another question")
    editor.press("Enter")
    expect(visit.replies).to_have_text(re.compile("Third answer"))
    assert "Another question" in served.service.prompts()[2]
    assert "A question" not in served.service.prompts()[2]
    visit.page.get_by_role("button", name="Earlier branch").click()
    expect(visit.replies).to_have_text(re.compile("Second answer"))  # the newest of the branch
    visit.page.reload()
    expect(visit.replies).to_have_text(re.compile("Second answer"))
    expect(visit.page.get_by_label("Branch 1 of 2")).to_have_count(1)
    expect(visit.page.get_by_label("Branch 2 of 2")).to_have_count(1)


def test_conversations_are_kept_found_renamed_and_deleted(visit, say):
    say("The capital is Oslo.")
    visit.ask("Norway?")
    visit.page.reload()
    expect(visit.replies).to_contain_text("The capital is Oslo.")
    visit.open()
    expect(visit.replies).to_have_count(0)
    say("The capital is Bern.")
    visit.ask("Switzerland?")
    listed = visit.page.get_by_role("navigation", name="Conversations").get_by_role("listitem")
    expect(listed).to_have_count(2)
    visit.page.get_by_role("searchbox").fill("oslo")  # in a message, not in a title
    expect(listed).to_have_count(1)
    visit.page.get_by_role("button", name="Norway?", exact=True).click()
    expect(visit.replies).to_contain_text("The capital is Oslo.")
    visit.page.get_by_role("searchbox").fill("")

    listed.filter(has_text="Norway?").hover()
    visit.page.get_by_role("button", name="Rename Norway?").click()
    name = visit.page.get_by_role("textbox", name="New name")
    expect(name).to_be_focused()
    name.fill("The north")
    name.press("Enter")
    expect(visit.page.get_by_role("heading", level=1)).to_have_text("The north")
    listed.filter(has_text="The north").hover()
    visit.page.get_by_role("button", name="Delete The north").click()
    visit.page.get_by_role("button", name="Cancel").click()
    expect(listed).to_have_count(2)
    visit.page.get_by_role("button", name="Delete The north").click()
    visit.page.get_by_role("button", name="Delete", exact=True).click()
    expect(listed).to_have_count(1)
    expect(visit.replies).to_have_count(0)
    visit.page.reload()
    expect(listed).to_have_text(["Switzerland?"])


def test_reload_in_the_middle_of_a_reply(visit, say, served):
    say(Script(text="Begun, never ended.", holds_behind="Begun"))
    visit.say("Go")
    expect(visit.replies.locator(".prose")).to_have_text("Begun")
    expect(visit.page).to_have_url(re.compile("#"))  # it has been saved
    visit.page.reload()
    expect(visit.replies).to_contain_text("You stopped this reply.")
    until(lambda: not served.service.num_open)


def test_two_tabs_share_the_conversations(visit, say):
    say("Hello.")
    other = visit.context.new_page()
    other.goto(visit.address)
    visit.ask("From the first tab")
    expect(other.get_by_role("button", name="From the first tab", exact=True)).to_be_visible()


BUDGET = """(id) => new Promise((resolve) => {
  const opening = indexedDB.open("fulmen");
  opening.onsuccess = () => {
    const asking = opening.result.transaction("conversations").objectStore("conversations").get(id);
    asking.onsuccess = () => resolve(asking.result.options.budget);
  };
})"""


def begun_in_two_tabs(visit, say, question):
    """A second tab with a conversation whose reply goes on in the first one."""
    say(Script(text="Begun and ended.", holds_behind="Begun"))
    visit.say(question)
    expect(visit.replies.locator(".prose")).to_have_text("Begun")
    other = visit.context.new_page()
    other.goto(visit.page.url)
    expect(other.locator("li.message.assistant")).to_contain_text("You stopped this reply.")
    return other


def test_a_tab_that_saw_a_reply_cut_does_not_cut_it(visit, say, served):
    other = begun_in_two_tabs(visit, say, "In two tabs")
    served.service.go_on.set()
    expect(visit.replies.get_by_role("button", name="Write the reply again")).to_be_visible()
    other.get_by_role("slider", name="Thinking").press("Home")  # it saves the conversation as it knows it
    until(lambda: other.evaluate(BUDGET, visit.page.url.partition("#")[2]) == 0)
    visit.page.reload()
    expect(visit.replies).to_contain_text("Begun and ended.")


def test_a_name_may_be_typed_while_a_reply_goes_on(visit, say, served):
    say(Script(text="Begun and ended.", holds_behind="Begun"))
    visit.say("The first name")
    expect(visit.replies.locator(".prose")).to_have_text("Begun")
    name = begin_to_rename(visit.page, "The first name")
    name.fill("The second name")
    served.service.go_on.set()
    expect(visit.replies.get_by_role("button", name="Write the reply again")).to_be_visible()
    name.press("Enter")
    expect(visit.page.get_by_role("heading", level=1)).to_have_text("The second name")


@pytest.mark.parametrize("by_key", [False, True])
def test_an_edited_message_waits_for_the_reply_that_is_written(visit, say, served, by_key):
    say("Hello.", Script(text="Begun and ended.", holds_behind="Begun"), "So be it.")
    visit.ask("The first words")
    visit.page.get_by_role("button", name="Edit the message").click()
    message = visit.page.get_by_role("textbox", name="Your message")
    message.fill("Other words")
    visit.say("Meanwhile")
    expect(visit.replies.last.locator(".prose")).to_have_text("Begun")
    send = visit.page.get_by_role("button", name="Send", exact=True)
    expect(send).to_be_disabled()
    message.press("Enter")
    expect(message).to_have_value("Other words")
    served.service.go_on.set()
    expect(send).to_be_enabled()
    if by_key:
        message.press("Enter")
    else:
        send.click()
    expect(visit.replies).to_have_text(re.compile("So be it."))
    assert "Other words" in served.service.prompts()[2]


def test_a_message_may_be_edited_while_another_tab_saves(visit, say):
    say("Hello.")
    visit.ask("The first name")
    visit.page.get_by_role("button", name="Edit the message").click()
    message = visit.page.get_by_role("textbox", name="Your message")
    message.fill("Something else")
    other = visit.context.new_page()
    other.goto(visit.page.url)
    rename(other, "The first name", "The second name")
    expect(visit.page.get_by_role("heading", level=1)).to_have_text("The second name")
    expect(message).to_have_value("Something else")


def test_a_name_from_one_tab_is_kept_by_the_other(visit, say, served):
    other = begun_in_two_tabs(visit, say, "The first name")
    rename(other, "The first name", "The second name")
    heading = visit.page.get_by_role("heading", level=1)
    expect(heading).to_have_text("The second name")
    served.service.go_on.set()  # the reply's end is saved
    expect(visit.replies.get_by_role("button", name="Write the reply again")).to_be_visible()
    rename(visit.page, "The second name", "The third name")
    expect(other.get_by_role("heading", level=1)).to_have_text("The third name")
    other.get_by_role("slider", name="Thinking").press("Home")  # it saves the conversation as it knows it
    until(lambda: other.evaluate(BUDGET, visit.page.url.partition("#")[2]) == 0)
    for page in (visit.page, other):
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("The third name")
        expect(page.get_by_role("button", name="The third name", exact=True)).to_be_visible()
    expect(visit.replies).to_contain_text("Begun and ended.")


def test_what_one_tab_deletes_is_gone_in_the_other(visit, say):
    say("Hello.")
    visit.ask("A secret")
    other = visit.context.new_page()
    other.goto(visit.page.url)
    expect(other.locator("li.message.assistant")).to_contain_text("Hello.")
    visit.page.get_by_role("button", name="Delete A secret").focus()
    visit.page.keyboard.press("Enter")
    visit.page.get_by_role("button", name="Delete", exact=True).click()
    expect(other.locator("li.message")).to_have_count(0)
    other.get_by_role("slider", name="Thinking").press("Home")  # nothing brings it back
    other.reload()
    expect(other.get_by_role("slider", name="Thinking")).to_be_visible()
    expect(other.get_by_role("button", name="A secret", exact=True)).to_have_count(0)


def test_a_reply_that_is_the_same_is_announced_again(visit, say):
    say("Yes.", Script(text="Yes.", holds_behind="Y"))
    status = visit.page.get_by_role("status")
    visit.ask("One?")
    expect(status).to_have_text("The reply is finished: Yes.")
    visit.say("Two?")
    expect(visit.replies.last.locator(".prose")).to_have_text("Y")
    expect(status).to_have_text("")


def test_options_are_lost_by_no_slip_of_the_mouse(visit):
    visit.page.get_by_role("button", name="Options").click()
    dialog = visit.page.get_by_role("dialog", name="Options")
    dialog.get_by_label("Temperature").fill("0.33")
    box = dialog.bounding_box()
    inside = {"clientX": box["x"] + box["width"] - 1, "clientY": box["y"] + 50}  # where a scroll bar would be
    dialog.dispatch_event("mousedown", inside)
    dialog.get_by_role("button", name="Save").click()
    visit.page.get_by_role("button", name="Options").click()
    expect(dialog.get_by_label("Temperature")).to_have_value("0.33")
    dialog.dispatch_event("mousedown", {"clientX": 1, "clientY": 1})
    expect(dialog).to_have_count(0)


def test_reply_goes_on_while_another_conversation_is_read(visit, say, served):
    say(Script(text="Begun and ended.", holds_behind="Begun"))
    visit.say("In the background")
    expect(visit.replies.locator(".prose")).to_have_text("Begun")
    visit.page.get_by_role("button", name="New conversation").click()
    expect(visit.replies).to_have_count(0)
    served.service.go_on.set()
    until(lambda: not served.service.num_open)
    visit.page.get_by_role("button", name="In the background", exact=True).click()
    expect(visit.replies).to_contain_text("Begun and ended.")


def test_by_keyboard_alone(visit, say, served):
    page, keyboard = visit.page, visit.page.keyboard
    say("First.", "Again.", "Edited.", Script(text="Held back", holds_behind="Held"))
    keyboard.type("One")
    keyboard.press("Shift+Enter")
    keyboard.type("line more")
    keyboard.press("Enter")
    expect(visit.replies).to_contain_text("First.")
    expect(page.get_by_role("button", name="Send the message")).to_be_visible()
    assert "One\nline more" in served.service.prompts()[0]
    keyboard.press("Alt+r")
    expect(visit.replies).to_contain_text("Again.")
    expect(page.get_by_role("button", name="Send the message")).to_be_visible()
    keyboard.press("Alt+u")
    expect(page.get_by_role("textbox", name="Your message")).to_be_focused()
    keyboard.press("Control+a")
    keyboard.type("Two")
    keyboard.press("Enter")
    expect(visit.replies).to_contain_text("Edited.")
    expect(page.get_by_role("button", name="Send the message")).to_be_visible()

    names = focused_names(page, 40)  # everything can be reached by Tab
    for name in ("Export", "Options", "New conversation", "Earlier branch", "Write the reply again", "Message"):
        assert name in names, (name, names)
    page.get_by_role("button", name="Options").focus()
    keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Options")).to_be_visible()
    keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Options")).to_be_focused()
    keyboard.press("Control+/")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_contain_text("Write the last reply again")
    keyboard.press("Escape")
    keyboard.press("Control+k")
    expect(page.get_by_role("searchbox")).to_be_focused()
    keyboard.press("Control+Shift+o")
    expect(visit.field).to_be_focused()
    expect(visit.replies).to_have_count(0)
    keyboard.type("Three")
    keyboard.press("Enter")
    expect(visit.replies.locator(".prose")).to_have_text("Held")
    keyboard.press("Escape")
    expect(visit.replies).to_contain_text("You stopped this reply.")


def test_a_tool_is_answered_by_keyboard_alone(visit, say, served):
    page, keyboard = visit.page, visit.page.keyboard
    say(Script(text=THINKS), "It is 9 degrees.")
    set_tools(visit)
    visit.say("How warm is it in Bergen?")
    field = page.get_by_label("Result of get_weather")
    expect(field).to_be_visible()
    assert "Result of get_weather" in focused_names(page, 40)
    field.focus()
    keyboard.type("9 degrees")
    keyboard.press("Enter")
    keyboard.type("and rain")
    keyboard.press("Control+Enter")
    expect(visit.replies.nth(1)).to_contain_text("It is 9 degrees.")
    expect(visit.field).to_be_focused()
    assert "9 degrees\nand rain" in served.service.prompts()[1]


def focused_names(page, steps):
    """Names of what takes the focus as Tab is pressed."""
    script = "() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
    names = set()
    for _ in range(steps):
        page.keyboard.press("Tab")
        names.add(page.evaluate(script))
    return names
