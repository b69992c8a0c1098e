import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from fulmen.chat.message import Message, ToolCall, ToolSpec
from fulmen.chat.parser import parse
from fulmen.chat.reply_format import CLOSE_TEXT, reply_text
from fulmen.chat.schema import check_schema, for_grammar
from fulmen.chat.toolcalls import ToolChoice, json_grammar, response_schema_from_openai, tool_grammar

BYTES = LLTokenizer("byte")
WEATHER = ToolSpec(
    name="get_weather",
    description="Weather of a city",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
CLOCK = ToolSpec(name='clock "ä"', parameters={"type": "object", "properties": {}, "additionalProperties": False})
TOOLS = (WEATHER, CLOCK)
PARIS = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
TIME = '{"name": "clock \\"ä\\"", "arguments": {}}'


def block(*lines):
    return "<tool_calls>\n" + "".join(line + "\n" for line in lines) + "</tool_calls>"


def judge(grammar, text):
    """Return "end" if the reply may end with `text`, "more" if it may go on from it, "no" if it can't begin so."""
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(grammar.source))
    assert not matcher.get_error(), matcher.get_error()
    data = list(text.encode())
    if matcher.try_consume_tokens(data) < len(data):
        return "no"
    return "end" if matcher.is_accepting() else "more"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("", "end"),
        ("It is <b>sunny</b>.", "end"),
        (block(PARIS), "end"),
        ("Let me see.\n" + block(PARIS, TIME), "end"),
        (block(PARIS).removesuffix("</tool_calls>"), "more"),
        ("So: <tool_calls>", "more"),
        ("So: <tool_calls> or", "no"),
        (block(), "no"),
        (block(PARIS) + "!", "no"),
        (block('{"name": "get_time"'), "no"),
        (block('{"name": "get_weather", "arguments": {"unit": "celsius"'), "no"),
        (block('{"name": "get_weather", "arguments": {"city": "</tool_calls>", "unit": "celsius"}}'), "end"),
        (block('{"name": "get_weather", "arguments": {"city":'), "no"),  # the line goes on inside the object
        (block('{"name": "get_weather",  '), "no"),
    ],
)
def test_auto_is_free_until_calls_are_opened(text, verdict):
    assert judge(tool_grammar(TOOLS), text) == verdict


@pytest.mark.parametrize(
    ("choice", "text", "verdict"),
    [
        ("none", "No tools <tool_cal", "end"),
        ("none", "No tools <tool_calls>", "no"),
        ("required", "", "more"),
        ("required", "Well", "no"),
        ("required", block(PARIS, TIME), "end"),
        ("required", block(PARIS) + "\n", "no"),
        ("named", block(TIME), "end"),
        ("named", block(TIME, TIME), "no"),
        ("named", block(PARIS), "no"),
    ],
)
def test_other_choices(choice, text, verdict):
    grammar = tool_grammar(TOOLS, ToolChoice(mode=choice, name=CLOCK.name if choice == "named" else None))
    assert judge(grammar, text) == verdict


@pytest.mark.parametrize(
    ("schema", "verdict"),
    [
        ({"properties": {"city": {"type": "string"}}}, "no"),
        ({"properties": {"city": {"type": "string"}}, "additionalProperties": True}, "end"),
        ({"properties": {"city": {"type": "string"}}, "required": ["town"]}, "end"),
        ({"properties": {"city": {"type": "string"}}, "patternProperties": {"^t": True}}, "end"),
        ({"type": "object"}, "end"),
        ({"properties": {}}, "no"),
    ],
)
def test_arguments_that_a_schema_does_not_name_are_not_offered(schema, verdict):
    grammar = tool_grammar([ToolSpec(name="book", parameters=schema)])
    arguments = '{"town": "Rome"}' if "city" not in str(schema) else '{"city": "Rome", "town": "Rome"}'
    assert judge(grammar, block(f'{{"name": "book", "arguments": {arguments}}}')) == verdict


def test_one_call_only_without_parallel_calls():
    grammar = tool_grammar(TOOLS, ToolChoice(mode="required"), parallel=False)
    assert judge(grammar, block(PARIS)) == "end"
    assert judge(grammar, block(PARIS, TIME)) == "no"


THOUGHT = '<think>\nShould I open <tool_calls> and say "{"?'


@pytest.mark.parametrize("close", [CLOSE_TEXT, "</think>", "\n</think>\n"])
@pytest.mark.parametrize("choice", ["auto", "none", "required", "named"])
@pytest.mark.parametrize("thinking", ["optional", "open"])
def test_thinking_is_free_and_the_rest_is_not(thinking, choice, close):
    grammar = tool_grammar(TOOLS, ToolChoice(mode=choice, name="get_weather"), thinking=thinking)
    thought = THOUGHT if thinking == "optional" else THOUGHT.removeprefix("<think>\n")
    assert judge(grammar, thought) == "more"
    assert judge(grammar, thought + close + block(PARIS)) == ("no" if choice == "none" else "end")
    assert judge(grammar, thought + close + "Hi") == ("end" if choice in ("auto", "none") else "no")
    if thinking == "optional":
        assert judge(grammar, block(PARIS)) == ("no" if choice == "none" else "end")
        assert judge(grammar, " \n" + thought + close + "<tool_calls> or") == "no"


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


def test_json_answers():
    plain, thinking = json_grammar(SCHEMA), json_grammar(SCHEMA, thinking="optional")
    assert judge(plain, '{"n": 12}') == "end"
    assert judge(plain, '{"n": "12"') == "no"
    assert judge(plain, "<think>") == "no"
    assert judge(thinking, '{"n": 12}') == "end"
    assert judge(thinking, '<think>\n{"m"\n</think>\n\n{"n": 12}') == "end"
    assert judge(thinking, "<think>\nHm.\n</think>\n\nHi") == "no"
    anything = json_grammar({"type": "object"})
    assert judge(anything, '{"a": [1, {"b": null}]}') == "end"
    assert judge(anything, "[") == "no"


def test_json_answers_or_calls():
    auto = tool_grammar(TOOLS, schema=SCHEMA, thinking="optional")
    for text in ('{"n": 1}', block(PARIS), '<think>\n</think>\n\n{"n": 1}', "<think>\n</think>\n\n" + block(PARIS)):
        assert judge(auto, text) == "end"
    assert judge(auto, "Hi") == "no"
    assert judge(tool_grammar(TOOLS, ToolChoice(mode="none"), schema=SCHEMA), "<tool") == "no"
    assert judge(tool_grammar(TOOLS, ToolChoice(mode="required"), schema=SCHEMA), "{") == "no"


def test_schemas_that_the_compiler_knows_in_part_are_read_leniently_for_tools():
    tool = ToolSpec(name="f", parameters={"properties": {"a": {"type": "array", "uniqueItems": True, "format": "x"}}})
    assert judge(tool_grammar([tool]), block('{"name": "f", "arguments": {"a": [1, 1]}}')) == "end"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20), st.text("ab <>\n", max_size=20))
def test_what_the_grammar_accepts_the_parser_reads(city, text):
    call = ToolCall(id="", name="get_weather", arguments=json.dumps({"city": city}, ensure_ascii=False))
    message = Message(role="assistant", content=text, tool_calls=(call,))
    written = "".join(reply_text(message))
    assert judge(tool_grammar(TOOLS), written) == "end"
    reply = parse(written)
    assert (reply.text, reply.warnings) == (text, ())
    assert [(c.name, c.arguments) for c in reply.tool_calls] == [(call.name, call.arguments)]


def test_nothing_to_constrain():
    assert tool_grammar(()) is None
    assert tool_grammar((), ToolChoice(mode="none"), thinking="optional") is None


@pytest.mark.parametrize(
    ("tools", "choice", "schema", "message"),
    [
        ((), ToolChoice(mode="required"), None, "required but there are no tools"),
        (TOOLS, ToolChoice(mode="named", name="nope"), None, "'nope'.*get_weather"),
        ((ToolSpec(name="f", parameters={"type": "array"}),), ToolChoice(), None, r"tools\[0\].parameters.type"),
        (
            (WEATHER, ToolSpec(name="f", parameters={"properties": {"a": {"type": "strng"}}})),
            ToolChoice(),
            None,
            r"tools\[1\].parameters.properties.a.type is 'strng'",
        ),
        ((), ToolChoice(), {"anyOf": []}, r"schema.anyOf must be a non-empty list"),
    ],
)
def test_requests_that_make_no_sense(tools, choice, schema, message):
    with pytest.raises(ValueError, match=message):
        tool_grammar(tools, choice, schema=schema)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ([], "s must be a schema"),
        ({"properties": []}, "s.properties must"),
        ({"properties": {"a": 3}}, "s.properties.a must be a schema"),
        ({"items": {"required": "a"}}, "s.items.required must"),
        ({"enum": []}, "s.enum must"),
        ({"type": ["string", "nul"]}, "s.type is 'nul'"),
        ({"type": {"a": 1}}, "s.type is"),
        ({"pattern": 3}, "s.pattern must"),
        ({"properties": {"a": {"minimum": "x"}}}, "s.properties.a.minimum must be a number, not 'x'"),
        ({"maximum": True}, "s.maximum must be a number, not True"),
        ({"multipleOf": 0}, "s.multipleOf is 0; it must be above 0"),
        ({"minLength": 1.5}, "s.minLength is 1.5; it must be a whole number from 0 to 4294967295"),
        ({"maxLength": 2**53 - 1}, "s.maxLength is 9007199254740991; it must be a whole number from 0 to 4294967295"),
        ({"anyOf": [{"minItems": -1}]}, r"s.anyOf\[0\].minItems is -1; it must be a whole number from 0 to"),
        ({"items": {"minLength": 5, "maxLength": 2}}, "s.items.minLength is 5 and maxLength is 2: no value fits both"),
        ({"minimum": 3, "maximum": 2.5}, "s.minimum is 3 and maximum is 2.5"),
        ({"exclusiveMinimum": 3, "maximum": 3}, "s.exclusiveMinimum is 3 and maximum is 3"),
        ({"minimum": 3, "exclusiveMaximum": 3}, "s.minimum is 3 and exclusiveMaximum is 3"),
        ({"minItems": 2, "maxItems": 1}, "s.minItems is 2 and maxItems is 1"),
        ({"anyOf": [{}, {"$ref": "#/$defs/x"}]}, r"s.anyOf\[1\].\$ref is '#/\$defs/x', which does not exist"),
        ({"$ref": "http://x/y"}, r"s.\$ref is 'http"),
    ],
)
def test_a_wrong_schema_is_named_by_its_path(schema, path):
    with pytest.raises(ValueError, match=path):
        check_schema(schema, "s")


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"properties": {"a": {"not": {}}}}, "s.properties.a.not is not supported"),
        ({"items": {"uniqueItems": True}}, "s.items.uniqueItems is not supported"),
    ],
)
def test_what_no_grammar_expresses_is_named_where_it_must_hold(schema, path):
    with pytest.raises(ValueError, match=path):
        check_schema(schema, "s", strict=True)
    check_schema(schema, "s")


@pytest.mark.parametrize("pattern", ["(?=x)", "a(?!b)", "(?<=a)b", "(?<!a)b", r"[\])](?=x)", r"(a)\1"])
def test_look_around_and_back_references_are_named_by_their_path(pattern):
    for schema in ({"items": {"pattern": pattern}}, {"items": {"patternProperties": {pattern: {}}}}):
        with pytest.raises(ValueError, match=r"s.items.pattern\w* has .* not supported"):
            check_schema(schema, "s")


@pytest.mark.parametrize("pattern", [r"\(?=x", "[(?=]", "[](?=]", r"[\](?=]", "(?:a)(?P<n>b)(?i:c)", r"\\d\d"])
def test_patterns_that_only_look_like_it_pass(pattern):
    check_schema({"pattern": pattern}, "s", strict=True)


def test_unknown_formats_are_annotations():
    data = {"format": "path"}
    schema = {
        "properties": {"format": {"type": "string", "format": "path"}, "day": {"format": "date"}},
        "$defs": {"a": {"items": {"anyOf": [{"format": "iri"}, True]}}},
        "const": data,
    }
    assert for_grammar(schema) == {
        "properties": {"format": {"type": "string"}, "day": {"format": "date"}},
        "$defs": {"a": {"items": {"anyOf": [{}, True]}}},
        "const": data,
    }
    assert "path" not in json_grammar({"type": "string", "format": "path"}).source


def test_good_schemas_pass():
    check_schema({"$defs": {"a/b": {"type": "string"}}, "items": {"$ref": "#/$defs/a~1b"}, "not": False}, "s")
    check_schema({"properties": {"child": {"$ref": "#"}}}, "s")
    check_schema({"minimum": 3, "maximum": 3, "exclusiveMinimum": True, "minLength": 2, "maxLength": 2}, "s")
    check_schema({"properties": {"minimum": {"enum": ["x"]}}, "maxItems": 2**53 - 1}, "s")
    deep: dict = {}
    for _ in range(5000):
        deep = {"items": deep}
    with pytest.raises(ValueError, match="nested"):
        check_schema(deep, "s")


def test_reading_the_options_of_a_request():
    assert ToolChoice.from_openai(None) == ToolChoice(mode="auto")
    assert ToolChoice.from_openai("required") == ToolChoice(mode="required")
    chat = {"type": "function", "function": {"name": "f"}}
    for form in (chat, {"type": "function", "name": "f"}):
        assert ToolChoice.from_openai(form) == ToolChoice(mode="named", name="f")
    for wrong in ("any", 3, [], {"type": "function"}, {"type": "function", "function": 3}):
        with pytest.raises(ValueError, match="tool_choice is"):
            ToolChoice.from_openai(wrong)
    assert response_schema_from_openai(None) is None
    assert response_schema_from_openai({"type": "text"}) is None
    assert response_schema_from_openai({"type": "json_object"}) == {"type": "object"}
    chat = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    for form in (chat, {"type": "json_schema", "name": "x", "schema": SCHEMA}):
        assert response_schema_from_openai(form) == SCHEMA
    for wrong in ("json", {"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": []}):
        with pytest.raises(ValueError, match="response_format"):
            response_schema_from_openai(wrong)
    for wrong, message in (
        ({"type": "json_schema"}, "text.format.schema must be"),
        ({"type": "json_schema", "schema": {"not": {}}}, "text.format.schema.not is"),
        ({"type": "xml"}, "text.format.type is"),
    ):
        with pytest.raises(ValueError, match=message):
            response_schema_from_openai(wrong, "text.format")
