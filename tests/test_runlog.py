"""Metrics survive a kill and never hold a step twice; progress is plain where there is no terminal."""

from pathlib import Path

import pytest

from fulmen.runlog import RunLog, Stopwatch, progress, read_metrics


def write(path: Path, steps: range) -> RunLog:
    log = RunLog(path, resume_step=steps.start - 1)
    for step in steps:
        log.write(step=step, loss=1 / step)
    return log


def test_a_resumed_run_has_no_step_twice(tmp_path: Path) -> None:
    write(tmp_path / "run" / "metrics.jsonl", range(1, 8))
    write(tmp_path / "run" / "metrics.jsonl", range(5, 7))
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert lines == [{"step": step, "loss": 1 / step} for step in range(1, 7)]  # floats to the last bit


def test_a_new_run_starts_an_empty_file(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", range(1, 4))
    RunLog(tmp_path / "metrics.jsonl")
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    log = write(tmp_path / "metrics.jsonl", range(1, 4))
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in read_metrics(log.path)] == [1, 2, 3]
    write(log.path, range(4, 5))
    assert [line["step"] for line in read_metrics(log.path)] == [1, 2, 3, 4]


def test_a_broken_line_in_the_middle_is_reported(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl has a line that is no JSON: 'nonsense'"):
        RunLog(tmp_path / "metrics.jsonl")


def test_notes_outlive_a_rewind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write(tmp_path / "metrics.jsonl", range(1, 4))
    log.note("back to step 1")
    log.rewind(1)
    assert (tmp_path / "events.log").read_text().endswith("back to step 1\n")
    assert capsys.readouterr().err == "back to step 1\n"


def test_progress_without_a_terminal_is_first_and_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("pretrain", 50) as display:
        for step in range(1, 51):
            display.show(step, f"loss {step}")
    captured = capsys.readouterr()
    assert captured.err == "pretrain 1/50 loss 1\npretrain 50/50 loss 50\n"
    assert captured.out == ""


def test_a_lap_starts_the_watch_again() -> None:
    watch = Stopwatch()
    first = watch.lap()
    assert watch.seconds >= 0
    assert first >= 0
