"""A transcript gives back what was written, whatever was being written when the process was killed."""

import multiprocessing
import stat

import pytest

from fulmen.agents.records import (
    Budget,
    Called,
    Decided,
    Ended,
    Replied,
    Resumed,
    Returned,
    Source,
    Started,
    Told,
    plain,
    record_from_line,
    record_to_line,
)
from fulmen.agents.transcript import Transcript, read_transcript
from fulmen.chat.message import Message, ToolCall, ToolSpec

STARTED = Started(
    task="Say \u201chi\u201d\nand go.",
    agent={"kind": "search", "search_tools": ["find"]},
    model="scripted",
    opening=(Message(role="system", content="Be brief."), Message(role="user", content="Say hi.")),
    tools=(ToolSpec(name="find", description="Find.", parameters={"type": "object", "properties": {"a": {}}}),),
    dangerous=("find",),
    budget=Budget(steps=3, reply_tokens=7),
    setup={"root": ".", "mcp": ["a=b"]},
)
REPLY = Message(
    role="assistant",
    content="",
    thinking="",
    tool_calls=(ToolCall(id="call_1", name="find", arguments='{"a": "\u00e9"}'),),
)
RECORDS = [
    Replied(message=REPLY, finish_reason="stop", prompt_tokens=5, completion_tokens=3, warnings=("odd",)),
    Decided(call_id="call_1", allowed=True, why="the user said yes"),
    Called(call_id="call_1"),
    Resumed(),
    Returned(call_id="call_1", content="x\u2028y", failed=True, sources=(Source(number=1, place="a:1", text="t"),)),
    Told(content="Go on.", reason="follow_up"),
    Ended(outcome="answered", answer="hi", detail="d"),
]


def write(path, *records):
    with Transcript.create(path) as transcript:
        for record in records:
            transcript.append(record)
    return path


@pytest.mark.parametrize("record", [STARTED, *RECORDS], ids=lambda record: record.kind)
def test_a_record_survives_its_line(record):
    line = record_to_line(record)
    assert "\n" not in line
    assert record_from_line(line) == record


def test_a_file_gives_back_its_records_and_only_its_owner_reads_it(tmp_path):
    path = write(tmp_path / "runs" / "run.jsonl", STARTED, *RECORDS)
    assert read_transcript(path) == (STARTED, RECORDS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_wherever_the_last_line_is_cut_the_others_stand(tmp_path):
    whole = write(tmp_path / "whole.jsonl", STARTED, *RECORDS).read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(last, len(whole), 7):
        path = tmp_path / f"{end}.jsonl"
        path.write_bytes(whole[:end])
        transcript, started, records = Transcript.reopen(path)
        assert (started, records) == (STARTED, RECORDS[:-1])
        with transcript:
            transcript.append(RECORDS[-1])
        assert path.read_bytes() == whole


def test_a_new_run_never_writes_over_a_file(tmp_path):
    path = write(tmp_path / "run.jsonl", STARTED)
    with pytest.raises(ValueError, match="is there already"):
        Transcript.create(path)
    assert read_transcript(path)[0] == STARTED


def test_a_file_belongs_to_one_process(tmp_path):
    path = write(tmp_path / "run.jsonl", STARTED)
    with Transcript.reopen(path)[0], multiprocessing.get_context("spawn").Pool(1) as pool:
        assert "another process" in pool.apply(reopening_fails, (path,))
    Transcript.reopen(path)[0].close()


def reopening_fails(path):
    try:
        Transcript.reopen(path)
    except ValueError as error:
        return str(error)
    return "it was opened"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("", "no transcript of an agent"),
        ('{"kind": "resumed"}\n', "no transcript of an agent"),
        ("no json\n", "line 1: "),
        ('{"kind": "resumed"}\n{"kind": "dance"}\n', "line 2: .*dance"),
        ('{"kind": "resumed"}\n{"kind": "called"}\n', "line 2: called.call_id: Field required"),
        ('{"kind": "resumed"}\n\xff\n', "line 2: "),
    ],
)
def test_what_is_no_transcript_is_named_with_its_line(tmp_path, lines, reason):
    path = tmp_path / "run.jsonl"
    path.write_bytes(lines.encode("latin-1"))
    with pytest.raises(ValueError, match=reason):
        read_transcript(path)
    with pytest.raises(ValueError, match=reason):
        Transcript.reopen(path)


def test_a_file_that_is_not_there(tmp_path):
    for read in (read_transcript, Transcript.reopen):
        with pytest.raises(ValueError, match="there is no transcript"):
            read(tmp_path / "none.jsonl")


def test_halves_of_surrogate_pairs_are_joined_or_replaced():
    assert plain("a\ud83d\ude00b\ud83dc") == "a\U0001f600b\ufffdc"
