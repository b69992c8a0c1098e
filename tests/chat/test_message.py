import json

import pytest

from fulmen.chat.message import UNSEEN_IMAGE, Message, ToolCall, ToolSpec, messages_from_openai, tools_from_openai

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def test_reads_every_role():
    assert messages_from_openai(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "input_text", "text": "there"}]},
            {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "2"},
            {"role": "assistant", "content": "Two.", "refusal": None, "audio": None},
        ]
    ) == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hi\nthere"),
        Message(role="assistant", thinking="Hm.", tool_calls=(ToolCall(id="call_1", name="f", arguments='{"a": 1}'),)),
        Message(role="tool", content="2", tool_call_id="call_1"),
        Message(role="assistant", content="Two."),
    )


def test_results_in_the_form_of_the_published_guide_become_one_message_each():
    parts = [{"name": "f", "type": "text", "text": "1"}, {"name": "g", "type": "text", "text": "2"}]
    assert messages_from_openai([{"role": "tool", "content": parts}]) == (
        Message(role="tool", content="1", name="f"),
        Message(role="tool", content="2", name="g"),
    )


@pytest.mark.parametrize("strict", [False, True])
def test_a_tool_that_is_written_can_be_read_again(strict):
    spec = ToolSpec(name="f", description="Does it.", parameters={"type": "object", "properties": {}}, strict=strict)
    assert tools_from_openai([spec.to_openai()]) == (spec,)


def test_what_is_written_can_be_read_again():
    messages = (
        Message(role="user", content="Hi"),
        Message(role="assistant", thinking="", tool_calls=(ToolCall(id="1", name="f", arguments="{}"),)),
        Message(role="tool", content="2", tool_call_id="1", name="f"),
        Message(role="assistant", content="Two.", thinking="Hm."),
    )
    written = json.loads(json.dumps([message.to_openai() for message in messages]))
    assert written[1]["content"] is None
    assert messages_from_openai(written) == messages


@pytest.mark.parametrize(
    "image",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "input_image", "image_url": "https://images.example/cat.png"},
        {"type": "input_image", "file_id": "file-1"},
    ],
)
@pytest.mark.parametrize("rest", [{"role": "user"}, {"role": "tool", "tool_call_id": "1"}, {"role": "assistant"}])
def test_the_place_of_an_image_is_told_to_a_model_that_reads_text_only(image, rest):
    content = [{"type": "text", "text": "Look:"}, image, {"type": "text", "text": "Nice?"}]
    (message,) = messages_from_openai([{**rest, "content": content}])
    assert message.content == f"Look:\n{UNSEEN_IMAGE}\nNice?"
    assert message.num_unseen_images == 1


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("Hi", r"messages\[1\] must be an object, not a string"),
        ({"content": "Hi"}, r"messages\[1\].role is None"),
        ({"role": ["user"], "content": "Hi"}, r"messages\[1\].role is \['user'\]"),
        ({"role": "user"}, r"messages\[1\].content is missing"),
        ({"role": "user", "content": 3}, r"messages\[1\].content must be a string or a list.*not a number"),
        ({"role": "user", "content": {}}, r"messages\[1\].content must be a string or a list.*not an object"),
        ({"role": "user", "content": ["Hi"]}, r"messages\[1\].content\[0\] must be an object"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, r"messages\[1\].content\[0\].type is 'input_audio'"),
        ({"role": "user", "content": [{"type": "image_url"}]}, r"messages\[1\].content\[0\].image_url must be the URL"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}, r"image_url must be the URL"),
        (
            {"role": "user", "content": [{"type": "text"}]},
            r"messages\[1\].content\[0\].text must be a string, not null",
        ),
        ({"role": "user", "content": "a\ud800"}, r"messages\[1\].content has an unpaired surrogate at character 1"),
        ({"role": "assistant", "reasoning_content": 1}, r"messages\[1\].reasoning_content must be a string"),
        ({"role": "assistant", "tool_calls": {}}, r"messages\[1\].tool_calls must be a list"),
        ({"role": "assistant", "tool_calls": ["f"]}, r"messages\[1\].tool_calls\[0\].function must be an object"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": ""}}]},
            r"messages\[1\].tool_calls\[0\].function.name must be a non-empty string",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 1}}]},
            r"messages\[1\].tool_calls\[0\].function.arguments must be a string of JSON, not a number",
        ),
        ({"role": "tool", "content": "2"}, r"messages\[1\].tool_call_id is missing"),
        (
            {"role": "tool", "tool_call_id": True, "content": "2"},
            r"messages\[1\].tool_call_id must be a string, not a bool",
        ),
    ],
)
def test_a_complaint_names_the_message_and_the_field(message, complaint):
    with pytest.raises(ValueError, match=complaint):
        messages_from_openai([{"role": "user", "content": "Hi"}, message])


@pytest.mark.parametrize("messages", [None, [], "Hi", {"role": "user"}])
def test_messages_must_be_a_list(messages):
    with pytest.raises(ValueError, match="messages must be a non-empty list"):
        messages_from_openai(messages)


def test_reads_tools_in_three_forms():
    bare = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    for form in ({"type": "function", "function": bare}, {"type": "function", "strict": True, **bare}, bare):
        [spec] = tools_from_openai([form])
        strict = "strict" in form
        assert spec == ToolSpec(name="f", description="d", parameters={"type": "object"}, strict=strict)
    assert tools_from_openai(None) == ()
    assert tools_from_openai([{"name": "f"}])[0].parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("tools", "complaint"),
    [
        ("f", "tools must be a list"),
        ([3], r"tools\[0\] must be an object"),
        ([{"type": "web_search"}], r"tools\[0\].type is 'web_search'"),
        ([{"type": "function", "function": 3}], r"tools\[0\].function must be an object"),
        ([{"type": "function", "function": {}}], r"tools\[0\].function.name must be a non-empty string"),
        ([{"name": "f", "parameters": []}], r"tools\[0\].parameters must be a JSON schema, not a list"),
        ([{"name": "f"}, {"name": "f"}], r"tools\[1\] repeats the name 'f'"),
    ],
)
def test_a_complaint_names_the_tool(tools, complaint):
    with pytest.raises(ValueError, match=complaint):
        tools_from_openai(tools)
