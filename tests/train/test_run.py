"""Runs: stages follow each other, a kill loses nothing, the guard goes back, and what is no number stops the run."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import CONFIG, STAGES, CountingSource, stage

from fulmen.config import hybrid_layers
from fulmen.model.weights import load_checkpoint
from fulmen.runlog import read_metrics
from fulmen.trace import TrainingSample
from fulmen.train import run
from fulmen.train.evidence import TrainingError
from fulmen.train.losses import supervised_loss
from fulmen.train.packing import PackedBatch
from fulmen.train.run import run_stages
from fulmen.train.run_folder import claimed
from fulmen.train.settings import CheckpointSettings, GuardSettings, ScheduleSettings

PROGRAM = [sys.executable, str(Path(__file__).with_name("tiny_training.py"))]
EVERY_STEP = CheckpointSettings(every_steps=1, keep=20)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """All that must not depend on the time of day."""
    clocks = ("seconds", "tokens_per_second")
    return [{k: v for k, v in line.items() if k not in clocks} for line in read_metrics(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([*PROGRAM, folder], check=True)
    return folder


def test_a_run_trains_through_its_stages(undisturbed: Path) -> None:
    lines = metrics(undisturbed)
    assert [line["step"] for line in lines] == list(range(1, 15))
    assert [line["stage"] for line in lines] == ["first"] * 8 + ["second"] * 4 + ["third"] * 2
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5
    assert all(line["aux_loss"] > 1.9 and line["imbalance"] >= 1 for line in lines)
    assert set(lines[0]) >= {"tokens", "grad_norm", "learning_rate", "trained_fraction"}
    first, second = (load_checkpoint(undisturbed / name) for name in ("first", "second"))
    assert (first.config.rope_base, second.config.rope_base) == (10_000.0, 50_000.0)
    assert not torch.equal(first.lm_head.weight, second.lm_head.weight)


@pytest.mark.parametrize("call", [1, 22, 27, 46, 55])  # before any step, within steps 6, 7, 12 and 14
def test_a_killed_run_continues_to_the_last_bit(undisturbed: Path, tmp_path: Path, call: int) -> None:
    killed = subprocess.run([*PROGRAM, tmp_path, "--die-at", str(call)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(metrics(tmp_path)) == (call - 1) // 4
    subprocess.run([*PROGRAM, tmp_path], check=True)
    assert metrics(tmp_path) == metrics(undisturbed)
    ours, theirs = (load_checkpoint(folder / "third") for folder in (tmp_path, undisturbed))
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, theirs.get_parameter(name)), name


def test_a_finished_run_does_nothing_more(undisturbed: Path) -> None:
    before = (undisturbed / "metrics.jsonl").read_bytes()
    run_stages(CONFIG, STAGES, lambda _: CountingSource(), undisturbed)
    assert (undisturbed / "metrics.jsonl").read_bytes() == before


def test_a_run_from_a_folder_carries_its_tokenizer_along(undisturbed: Path, tmp_path: Path) -> None:
    start = undisturbed / "second"
    (start / "tokenizer.json").write_text("{}")
    (start / "README.md").write_text("what the weights beside this can do")
    run_stages(start, [stage(tokens=128)], lambda _: CountingSource(), tmp_path)
    assert (tmp_path / "first" / "tokenizer.json").read_text() == "{}"
    assert not (tmp_path / "first" / "README.md").exists(), "the card of other weights"
    assert load_checkpoint(tmp_path / "first").config.rope_base == 50_000.0
    assert metrics(tmp_path)[0]["loss"] < 3.3  # it knows already what `second` learnt


class SpikingLoss:
    """The supervised loss, a thousandfold in given calls."""

    def __init__(self, calls: set[int]) -> None:
        self.calls, self.count = calls, 0

    def __call__(self, logprobs: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
        self.count += 1
        return supervised_loss(logprobs, batch) * (1000.0 if self.count in self.calls else 1.0)


GUARDED = stage(
    tokens=10 * 128,
    schedule=ScheduleSettings(decay_fraction=0.0),
    guard=GuardSettings(threshold=20.0, window=3, slow_down=0.5, max_rollbacks=1),
)


def test_the_guard_goes_back_and_slows_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "supervised_loss", SpikingLoss({4 * 7 + 1}))  # in step 8
    run_stages(CONFIG, [GUARDED], lambda _: CountingSource(), tmp_path, checkpoints=EVERY_STEP)
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 11))
    # Step 7 was the last: three steps had followed the checkpoint of step 4.
    assert [line["learning_rate"] for line in lines] == [1e-2] * 4 + [5e-3] * 6
    assert max(line["grad_norm"] for line in lines) < 5
    event = (tmp_path / "events.log").read_text()
    assert "step 8: gradient norm" in event
    assert "back to step 4, learning rate times 0.5" in event
    monkeypatch.undo()
    run_stages(CONFIG, [GUARDED], lambda _: CountingSource(), tmp_path / "calm", checkpoints=EVERY_STEP)
    assert metrics(tmp_path / "calm")[:4] == lines[:4]
    assert metrics(tmp_path / "calm")[4]["loss"] == lines[4]["loss"]  # same weights, same data


def test_a_batch_that_trips_the_guard_again_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "supervised_loss", SpikingLoss({29, 45}))  # in step 8, both times
    run_stages(CONFIG, [GUARDED], lambda _: CountingSource(), tmp_path, checkpoints=EVERY_STEP)
    assert [line["step"] for line in metrics(tmp_path)] == list(range(1, 11))
    assert max(line["grad_norm"] for line in metrics(tmp_path)) < 5
    went_back, left_out = (tmp_path / "events.log").read_text().splitlines()
    assert "step 8: gradient norm" in went_back
    assert went_back.endswith("tripped the guard: back to step 4, learning rate times 0.5")
    assert "step 8: gradient norm" in left_out
    assert left_out.endswith("tripped the guard again: its batch is left out")


def test_the_guard_gives_up_after_its_rollbacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "supervised_loss", SpikingLoss({29, 41}))  # in step 8, and then in step 7
    with pytest.raises(TrainingError, match="tripped the guard after 1 rollbacks"):
        run_stages(CONFIG, [GUARDED], lambda _: CountingSource(), tmp_path, checkpoints=EVERY_STEP)


def test_a_stage_shorter_than_the_window_is_guarded_in_its_second_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "supervised_loss", SpikingLoss({21}))  # in step 6
    short = dataclasses.replace(GUARDED, tokens=6 * 128, guard=GuardSettings(threshold=20.0))
    run_stages(CONFIG, [short], lambda _: CountingSource(), tmp_path, checkpoints=EVERY_STEP)
    assert "step 6: gradient norm" in (tmp_path / "events.log").read_text()
    assert "back to step 2, learning rate times 0.5" in (tmp_path / "events.log").read_text()


def test_a_loss_that_is_no_number_stops_with_the_batch_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def broken(logprobs: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
        calls.append(batch)
        return supervised_loss(logprobs, batch) * (float("nan") if len(calls) == 11 else 1.0)

    monkeypatch.setattr(run, "supervised_loss", broken)
    with pytest.raises(TrainingError, match=r"stage first, step 3: the loss is nan.*bad-batch-step-3-process-0.jsonl"):
        run_stages(CONFIG, STAGES, lambda _: CountingSource(), tmp_path)
    lines = (tmp_path / "bad-batch-step-3-process-0.jsonl").read_text().splitlines()
    saved = tuple(TrainingSample(**json.loads(line)) for line in lines)
    assert [list(sample.token_ids) for sample in calls[10].samples] == [sample.token_ids for sample in saved]
    assert len(metrics(tmp_path)) == 2


def test_a_gradient_that_is_no_number_stops_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def steep(logprobs: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
        zero = (logprobs - logprobs.detach()).abs().sum()
        return supervised_loss(logprobs, batch) + zero.sqrt()  # whose derivative at 0 is infinite

    monkeypatch.setattr(run, "supervised_loss", steep)
    with pytest.raises(TrainingError, match=r"the norm of its gradient"):
        run_stages(CONFIG, STAGES, lambda _: CountingSource(), tmp_path)


def test_stages_and_checkpoints_must_fit(undisturbed: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="each needs a name of its own"):
        run_stages(CONFIG, [stage(), stage()], lambda _: CountingSource(), tmp_path)
    with pytest.raises(ValueError, match="belongs to a stage 'third'"):
        run_stages(CONFIG, [stage()], lambda _: CountingSource(), undisturbed)
    longer = [stage("first", tokens=40 * 128), *STAGES[1:]]
    with pytest.raises(ValueError, match=r"is of stage third, which has steps 44\.\.46 now"):
        run_stages(CONFIG, longer, lambda _: CountingSource(), undisturbed)


def test_a_run_goes_on_with_what_it_was_begun_with(tmp_path: Path) -> None:
    stages = [stage(tokens=128)]
    run_stages(CONFIG, stages, lambda _: CountingSource(), tmp_path)
    other = CONFIG.replace(experts_per_token=1)
    with pytest.raises(ValueError, match="started with num_experts_per_tok 2: repeat that"):
        run_stages(other, stages, lambda _: CountingSource(), tmp_path)
    with pytest.raises(ValueError, match="started with seed 0: repeat that"):
        run_stages(CONFIG, stages, lambda _: CountingSource(), tmp_path, seed=1)
    free = CONFIG.replace(router_aux_loss_coef=0.5, max_context=128)
    run_stages(free, [stage(tokens=256)], lambda _: CountingSource(), tmp_path)
    assert len(metrics(tmp_path)) == 2


def test_one_process_works_in_a_folder(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(ValueError, match="another process works in"):
        run_stages(CONFIG, [stage(tokens=128)], lambda _: CountingSource(), tmp_path)
    run_stages(CONFIG, [stage(tokens=128)], lambda _: CountingSource(), tmp_path)


def test_a_model_that_could_not_be_written_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    dense = hybrid_layers(2, softmax_every=1, feed_forward="dense")
    biased = CONFIG.replace(layers=dense, num_experts=0, experts_per_token=0, qkv_bias=True, postnorm=False)
    with pytest.raises(ValueError, match="MiniMax-M1's layout, but .*biases"):
        run_stages(biased, [stage()], lambda _: CountingSource(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
