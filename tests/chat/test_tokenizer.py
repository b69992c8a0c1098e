import json
import threading
import time
from itertools import pairwise

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers

from fulmen.chat.tokenizer import IncrementalDecoder, Tokenizer
from fulmen.trace import Vocabulary

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TRICKY = st.lists(
    st.sampled_from(
        ["<end_of_sentence>", "<end_of_", "sentence>", "<", ">", "<beginning_of_sentence>", "a", "\n", "é"]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(TEXT | TRICKY)
def test_text_survives_and_never_becomes_control(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not tokenizer.special_token_ids.intersection(ids)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(TRICKY, TRICKY)
def test_guarded_pieces_can_not_be_completed_by_what_follows(tokenizer, first, second):
    guarded = tokenizer.guard(first, "\0") + tokenizer.guard(second, "\0")
    assert guarded.replace("\0", "") == first + second
    ids = [i for piece in guarded.split("\0") for i in tokenizer.encode(piece, allow_special=True)]
    assert not tokenizer.special_token_ids.intersection(ids)


def test_control_tokens_where_they_are_allowed(tokenizer):
    ids = tokenizer.encode("Hi<end_of_sentence>", allow_special=True)
    assert ids[-1] == tokenizer.eos_token_ids[0]
    assert tokenizer.decode(ids) == "Hi"
    assert tokenizer.decode(ids, skip_special=False) == "Hi<end_of_sentence>"


def test_other_threads_run_while_a_long_text_is_encoded(tokenizer):
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(0.001):
            ticks.append(time.monotonic())

    ticker = threading.Thread(target=tick)
    ticker.start()
    begin = time.monotonic()
    tokenizer.encode("lorem ipsum dolor " * 60_000)
    end = time.monotonic()
    done.set()
    ticker.join()
    pauses = [after - before for before, after in pairwise([begin, *(t for t in ticks if begin < t < end), end])]
    assert max(pauses) < 0.5 * (end - begin)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(TEXT | TRICKY)
def test_least_tokens_is_a_lower_bound(tokenizer, text):
    for allow_special in (False, True):
        assert tokenizer.least_tokens(text) <= len(tokenizer.encode(text, allow_special=allow_special))
    assert tokenizer.least_tokens("<beginning_of_sentence>") == 1


def test_is_the_vocabulary_that_the_engine_wants(tokenizer, folder):
    vocabulary: Vocabulary = tokenizer
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert len(vocabulary.token_bytes) == tokenizer.vocab_size == backend.get_vocab_size()
    ids = tokenizer.encode("Grüße, 東京 🌍\n")
    assert b"".join(vocabulary.token_bytes[i] for i in ids).decode() == "Grüße, 東京 🌍\n"
    assert {i for i, data in enumerate(vocabulary.token_bytes) if not data} == vocabulary.special_token_ids
    assert len(vocabulary.special_token_ids) == 4


def test_tags_that_are_tokens_are_text_in_replies_and_control_in_messages(chatml_tokenizer):
    tag = chatml_tokenizer.encode("<think>", allow_special=True)
    assert [chatml_tokenizer.token_bytes[i] for i in tag] == [b"<think>"]
    spelled = chatml_tokenizer.encode("<think>")
    assert not set(tag) & set(spelled)
    assert chatml_tokenizer.decode(spelled) == "<think>"


def test_sentencepiece_vocabularies():
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "<0xC3>": 3, "<0xA9>": 4, "\u2581hi": 5, "\u2581": 6, "h": 7, "i": 8}
    backend = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocabulary | {"\u2581h": 9},
            merges=[("\u2581", "h"), ("\u2581h", "i")],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken(text, special=True) for text in ("<unk>", "<s>", "</s>")])
    tokenizer = Tokenizer(backend, eos_token_ids=[2])
    assert tokenizer.token_bytes == (b"", b"", b"", b"\xc3", b"\xa9", b" hi", b" ", b"h", b"i", b" h")
    assert tokenizer.decode(tokenizer.encode("hi hié")) == " hi hié"


def test_a_document_begins_with_what_the_tokenizer_puts_there(tokenizer, folder):
    assert tokenizer.encode("Hi", add_bos=True) == tokenizer.encode("Hi")
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    bos = backend.token_to_id("<begin_of_document>")
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<begin_of_document> $A", special_tokens=[("<begin_of_document>", bos)]
    )
    assert Tokenizer(backend).encode("Hi", add_bos=True) == [bos, *tokenizer.encode("Hi")]
    assert Tokenizer(backend).encode("Hi") == tokenizer.encode("Hi")


def test_end_tokens_of_all_configs(folder, tmp_path, tokenizer):
    end = tokenizer.eos_token_ids
    assert len(end) == 1
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 3]}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    token = {"content": "<end_of_sentence>", "special": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": token}))
    assert Tokenizer.load(tmp_path).eos_token_ids == (7, 3, *end)


def test_unreadable_folders_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r"tokenizer\.json does not exist"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        Tokenizer.load(tmp_path)


def test_bad_input(tokenizer):
    with pytest.raises(ValueError, match="surrogate at character 2"):
        tokenizer.encode("ab\udc00")
    for token_id in (-1, tokenizer.vocab_size):
        with pytest.raises(ValueError, match=f"token id {token_id} is not in the vocabulary"):
            tokenizer.decode([token_id])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=30) | TEXT.map(str.encode), st.integers(1, 4))
def test_incremental_decoding_equals_decoding_at_once(data, size):
    decoder = IncrementalDecoder()
    parts = [decoder.feed(data[i : i + size]) for i in range(0, len(data), size)]
    assert "".join(parts) + decoder.finish() == data.decode("utf-8", "replace")


def test_an_unfinished_character_is_held_back():
    decoder = IncrementalDecoder()
    assert [decoder.feed(bytes([byte])) for byte in "🌍a".encode()] == ["", "", "", "🌍", "a"]
    assert decoder.feed(b"\xf0\x9f") == ""
    assert decoder.finish() == "\ufffd"
