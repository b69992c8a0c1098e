import json

import numpy as np
import pytest

from fulmen.train.configuration import ChatData, TextData
from fulmen.train.data.files import Writing, read_files


@pytest.fixture(scope="module")
def writing(tokenizer_folder):
    return Writing.load(tokenizer_folder)


def documents(store):
    starts = [0, *store.ends[:-1].tolist()]
    return [(store.tokens[a:b].tolist(), store.trained[a:b].tolist()) for a, b in zip(starts, store.ends, strict=True)]


def write_lines(path, lines):
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


CHAT = {
    "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
    "messages": [
        {"role": "user", "content": "What is 17 + 25?"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Use add.",
            "tool_calls": [{"id": "1", "function": {"name": "add", "arguments": '{"a": 17, "b": 25}'}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "content": "It is 42."},
    ],
}


def test_texts_of_all_kinds_of_files(tmp_path, writing, tokenizer):
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    write_lines(folder / "a.jsonl", [{"text": "One."}, "\n", {"text": "", "id": 4}, {"text": "Two <think>", "id": 5}])
    (folder / "deep" / "b.py").write_text("Drei: ü\n")
    (folder / ".hidden").write_text("no")
    store = read_files(TextData(path=folder), writing, tmp_path / "cache")
    begin, end = (tokenizer.encode(f"<{name}_of_document>", allow_special=True)[0] for name in ("begin", "end"))
    assert [ids for ids, _ in documents(store)] == [
        [begin, *tokenizer.encode(text), end] for text in ("One.", "Two <think>", "Drei: ü\n")
    ]
    assert all(trained == [False] + [True] * (len(ids) - 1) for ids, trained in documents(store))
    assert store.tokens.dtype == np.uint16
    one = read_files(TextData(path=folder / "deep" / "b.py"), writing, tmp_path / "cache")
    assert documents(one) == documents(store)[2:]


def test_of_a_chat_the_replies_and_their_end_tokens_are_trained(tmp_path, writing, tokenizer):
    path = write_lines(tmp_path / "chats.jsonl", [CHAT])
    [(ids, trained)] = documents(read_files(ChatData(path=path), writing, tmp_path / "cache"))
    end = "<end_of_sentence>"
    call = '{"name": "add", "arguments": {"a": 17, "b": 25}}'
    written = [
        f"<think>\nUse add.\n</think>\n\n<tool_calls>\n{call}\n</tool_calls>{end}",
        f"It is 42.{end}",
    ]
    expected = [i for text in written for i in tokenizer.encode(text, allow_special=True)]
    assert [i for i, wanted in zip(ids, trained, strict=True) if wanted] == expected
    everything = read_files(ChatData(path=path, train_on="all"), writing, tmp_path / "cache")
    assert documents(everything) == [(ids, [False] + [True] * (len(ids) - 1))]


def test_tokenised_once_and_again_when_something_changes(tmp_path, writing, monkeypatch):
    path = write_lines(tmp_path / "a.jsonl", [{"text": "One."}])
    cache = tmp_path / "cache"
    first = read_files(TextData(path=path), writing, cache)
    monkeypatch.setattr(Writing, "document", None)  # not needed any more
    again = read_files(TextData(path=path), writing, cache)
    assert (documents(again), again.key) == (documents(first), first.key)
    monkeypatch.undo()
    write_lines(path, [{"text": "One."}, {"text": "Two."}])
    assert len(read_files(TextData(path=path), writing, cache).ends) == 2
    assert len(list(cache.iterdir())) == 2
    for file in cache.rglob("tokens.bin"):  # damaged: made again
        file.write_bytes(file.read_bytes()[:-1])
    assert len(read_files(TextData(path=path), writing, cache).ends) == 2


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"text": "x"\n', "line 2: Expecting"),
        ("[1]\n", "line 2: the line must be a JSON object"),
        ('{"tekst": "x"}\n', "line 2: text is missing"),
        ('{"text": 3}\n', "line 2: text must be a string"),
        ('{"text": "\\ud800"}\n', "line 2: the text has an unpaired surrogate"),
    ],
)
def test_a_broken_line_of_text_stops_or_is_skipped(tmp_path, writing, line, complaint):
    path = write_lines(tmp_path / "a.jsonl", [{"text": "One."}, line, {"text": "Two."}])
    with pytest.raises(ValueError, match=rf'a\.jsonl, {complaint}.*set on_broken = "skip"'):
        read_files(TextData(path=path), writing, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    for _ in range(2):  # the second time from the cache
        with pytest.warns(UserWarning, match=rf"left out 1 broken lines or files: .*a\.jsonl, {complaint}"):
            store = read_files(TextData(path=path, on_broken="skip"), writing, tmp_path / "cache")
        assert len(store.ends) == 2
    with pytest.raises(ValueError, match=complaint):  # what was skipped once does not count as whole
        read_files(TextData(path=path), writing, tmp_path / "cache")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"message": []}, r"line 2: messages must be a non-empty list"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "line 2: no message of the assistant can be trained on"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, r"line 2: messages\[0\]\.role is 'robot'"),
        (CHAT | {"tools": 3}, "line 2: tools must be a list"),
    ],
)
def test_a_broken_chat_stops_or_is_skipped(tmp_path, writing, line, complaint):
    path = write_lines(tmp_path / "c.jsonl", [CHAT, line])
    with pytest.raises(ValueError, match=rf"c\.jsonl, {complaint}"):
        read_files(ChatData(path=path), writing, tmp_path / "cache")
    with pytest.warns(UserWarning, match=complaint):
        assert len(read_files(ChatData(path=path, on_broken="skip"), writing, tmp_path / "cache").ends) == 1


def test_hidden_files_and_folders_are_no_data(tmp_path, writing):
    (tmp_path / "texts" / ".git").mkdir(parents=True)
    (tmp_path / "texts" / ".git" / "index").write_bytes(b"\xff\x00")
    (tmp_path / "texts" / ".swp").write_bytes(b"\xff\x00")
    (tmp_path / "texts" / "a.txt").write_text("one")
    assert len(read_files(TextData(path=tmp_path / "texts"), writing, tmp_path / "cache").ends) == 1


def test_conversations_that_are_no_lines(tmp_path, writing):
    (tmp_path / "all.json").write_text("[]")
    with pytest.raises(ValueError, match=r"all\.json is no \.jsonl file"):
        read_files(ChatData(path=tmp_path / "all.json"), writing, tmp_path / "cache")


def test_files_with_nothing_in_them(tmp_path, writing):
    (tmp_path / "bytes.txt").write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match=r"bytes\.txt: byte 2 is no UTF-8"):
        read_files(TextData(path=tmp_path / "bytes.txt"), writing, tmp_path / "cache")
    with pytest.raises(ValueError, match="none does not exist: give a file or folder"):
        read_files(TextData(path=tmp_path / "none"), writing, tmp_path / "cache")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match=r"empty\.txt has nothing to train on"):
        read_files(TextData(path=tmp_path / "empty.txt"), writing, tmp_path / "cache")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"folder has no \.jsonl files"):
        read_files(ChatData(path=tmp_path / "folder"), writing, tmp_path / "cache")
