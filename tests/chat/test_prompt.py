import pytest
from llguidance import LLMatcher, LLTokenizer

from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.prompt import THINKING_BUDGET_40K, THINKING_BUDGET_80K, build_prompt
from fulmen.chat.template import ChatTemplate
from fulmen.chat.toolcalls import ToolChoice
from fulmen.trace import TokenEvent

HI = Message(role="user", content="Hi")
TOOL = ToolSpec(name="f", parameters={"type": "object"})
CALL = '<tool_calls>\n{"name": "f", "arguments": {}}\n</tool_calls>'
BYTES = LLTokenizer("byte")


def accepts(grammar, text):
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(grammar.source))
    assert not matcher.get_error(), matcher.get_error()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data)


def test_a_plain_question(tokenizer, template):
    prompt = build_prompt([HI], tokenizer=tokenizer, template=template)
    assert prompt.ids == template.render_ids(tokenizer, [HI]).ids
    assert (prompt.grammar, prompt.thinking_budget, prompt.starts_in_thinking) == (None, None, False)
    assembler = prompt.assembler(tokenizer)
    ids = tokenizer.encode(CALL)
    for index, token_id in enumerate(ids):
        last = index == len(ids) - 1
        assembler.feed(TokenEvent(choice=0, index=index, token_id=token_id, finish_reason="stop" if last else None))
    assert assembler.reply.text == CALL  # without tools, the tag is text


def test_thinking_budgets(tokenizer, template):
    assert (THINKING_BUDGET_40K, THINKING_BUDGET_80K) == (40_000, 80_000)
    budget = build_prompt([HI], tokenizer=tokenizer, template=template, thinking_budget=500).thinking_budget
    assert (budget.tokens, budget.open, budget.open_text, budget.close_text) == (500, False, "<think>", "</think>")
    assert tokenizer.decode(budget.close_ids) == "\n</think>\n\n"
    with pytest.raises(ValueError, match="thinking_budget is -1"):
        build_prompt([HI], tokenizer=tokenizer, template=template, thinking_budget=-1)


def test_no_thinking_is_closed_in_the_prompt(tokenizer, template, chatml, chatml_tokenizer):
    prompt = build_prompt([HI], tokenizer=tokenizer, template=template, thinking_budget=0, response_schema={})
    assert tokenizer.decode(prompt.ids).endswith("ai name=assistant\n<think>\n\n</think>\n\n")
    assert prompt.thinking_budget.tokens == 0
    assert not accepts(prompt.grammar, "<think>")
    # A model that never learned to think is not shown the tags.
    plain = build_prompt([HI], tokenizer=chatml_tokenizer, template=chatml, thinking_budget=0)
    assert chatml_tokenizer.decode(plain.ids).endswith("assistant\n")


def test_grammars_let_the_thinking_pass_where_there_is_one(tokenizer, template, chatml, chatml_tokenizer):
    thought = "<think>\nHm.\n</think>\n\n"
    required = ToolChoice(mode="required")
    m1 = build_prompt([HI], tokenizer=tokenizer, template=template, tools=[TOOL], tool_choice=required)
    assert accepts(m1.grammar, thought + CALL)
    assert accepts(m1.grammar, CALL)
    assert m1.constrained_calls
    plain = build_prompt([HI], tokenizer=chatml_tokenizer, template=chatml, tools=[TOOL], tool_choice=required)
    assert not accepts(plain.grammar, thought)
    assert accepts(plain.grammar, CALL)
    opening = ChatTemplate("{{ messages[0].content }}{% if add_generation_prompt %}<think>\n{% endif %}")
    opened = build_prompt([HI], tokenizer=tokenizer, template=opening, response_schema={}, thinking_budget=9)
    assert opened.starts_in_thinking
    assert opened.thinking_budget.open
    assert accepts(opened.grammar, "Hm.\n</think>\n\n{}")
    assert not accepts(opened.grammar, "Hm.\n</think>\n\nHi")


def test_choosing_no_tool_leaves_the_prompt_as_it_is(tokenizer, template):
    auto = build_prompt([HI], tokenizer=tokenizer, template=template, tools=[TOOL])
    none = build_prompt([HI], tokenizer=tokenizer, template=template, tools=[TOOL], tool_choice=ToolChoice(mode="none"))
    assert auto.ids == none.ids
    assert accepts(auto.grammar, CALL)
    assert not accepts(none.grammar, CALL)


def test_a_system_prompt_is_added(tokenizer, template):
    def text(messages, **options):
        return tokenizer.decode(build_prompt(messages, tokenizer=tokenizer, template=template, **options).ids)

    assert "ai_setting=assistant\nBe brief.\n" in text([HI], system_prompt="Be brief.")
    assert "assistant\nBe kind.\n\nBe brief.\n" in text(
        [Message(role="system", content="Be kind."), HI], system_prompt="Be brief."
    )
    with pytest.raises(ValueError, match="messages is empty"):
        text([])
