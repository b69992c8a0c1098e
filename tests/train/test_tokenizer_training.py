import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.chat.message import Message, ToolCall
from fulmen.chat.parser import parse
from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer
from fulmen.train.tokenizer_training import train_tokenizer

TAGS = ("<think>", "</think>", "<tool_calls>", "</tool_calls>")
CONTROL = ("<begin_of_document>", "<end_of_document>", "<beginning_of_sentence>", "<end_of_sentence>")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not tokenizer.special_token_ids.intersection(ids)


def test_digits_are_single_tokens(tokenizer):
    pieces = [tokenizer.token_bytes[i] for i in tokenizer.encode("x=12345, 678.90 and 17")]
    assert [p for p in pieces if any(48 <= byte < 58 for byte in p)] == [bytes([d]) for d in b"1234567890" + b"17"]


def test_a_word_is_the_same_wherever_it_stands(tokenizer):
    word = tokenizer.encode("weather")
    for text in (" weather", '"weather"', "get_weather", "=weather;", "\nweather,"):
        ids = tokenizer.encode(text)
        assert any(ids[i : i + len(word)] == word for i in range(len(ids))), text


def test_tags_and_control_tokens_are_single_tokens(tokenizer):
    for text in (*TAGS, *CONTROL):
        ids = tokenizer.encode(text, allow_special=True)
        assert len(ids) == 1
        assert (ids[0] in tokenizer.special_token_ids) == (text in CONTROL)
        assert ids[0] not in tokenizer.encode(text)  # somebody's own text is no tag
    assert [tokenizer.token_bytes[i] for i in tokenizer.encode("<think>", allow_special=True)] == [b"<think>"]


def test_sizes_and_ends(tokenizer):
    assert tokenizer.vocab_size == 330
    ends = [tokenizer.encode(text, allow_special=True)[0] for text in ("<end_of_sentence>", "<end_of_document>")]
    assert list(tokenizer.eos_token_ids) == ends
    begin = tokenizer.encode("<begin_of_document>", allow_special=True)
    assert tokenizer.encode("Hi", add_bos=True) == begin + tokenizer.encode("Hi")
    # Learned from the text between the control tokens: no piece spells one.
    assert not any(b"end_of_sent" in data for data in tokenizer.token_bytes)
    assert b"weather" in tokenizer.token_bytes


def test_a_reply_goes_through_template_and_parser(tokenizer, template):
    call = ToolCall(id="1", name="get_weather", arguments='{"city": "Paris"}')
    reply = Message(role="assistant", content="I look.", thinking="The user wants the weather.", tool_calls=(call,))
    chat = template.render_ids(
        tokenizer, [Message(role="user", content="Weather?"), reply], add_generation_prompt=False
    )
    written = [i for i, trained in zip(chat.ids, chat.trained, strict=True) if trained]
    assert written[0] == tokenizer.encode("<think>", allow_special=True)[0]
    assert written[-1] == tokenizer.eos_token_ids[0]
    parsed = parse(tokenizer.decode(written)).message()
    assert (parsed.content, parsed.thinking) == (reply.content, reply.thinking)
    assert [(c.name, c.arguments) for c in parsed.tool_calls] == [(call.name, call.arguments)]


def test_transformers_reads_the_same_vocabulary(tokenizer, tokenizer_folder, template):
    theirs = transformers.AutoTokenizer.from_pretrained(tokenizer_folder)
    text = "What is 17 + 25?\n  Grüße, 東京 🌍"
    assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text)
    assert theirs.eos_token_id == tokenizer.eos_token_ids[0]
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    rendered = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == template.render([Message(role="user", content="Hi")])


def test_the_same_texts_give_the_same_files(tmp_path):
    texts = [f"word{i % 7} another{i % 5} {i}" for i in range(500)]
    for name in ("a", "b"):
        train_tokenizer(iter(texts), tmp_path / name, vocab_size=272)
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert ChatTemplate.load(tmp_path / "a").thinks
    assert Tokenizer.load(tmp_path / "a").vocab_size == 272


def test_sizes_that_can_not_be(tmp_path):
    with pytest.raises(ValueError, match=r"vocab_size is 263; .* alone are 264"):
        train_tokenizer(["a"], tmp_path, vocab_size=263)
    with pytest.raises(ValueError, match="vocabulary of 266 tokens only; lower vocab_size, which is 500"):
        train_tokenizer(["abc abc"], tmp_path, vocab_size=500)
