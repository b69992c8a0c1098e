"""A checkpoint is whole or not there: full disks, damaged files and kills leave the one before in its place."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import CONFIG, sample, trainer

from fulmen.config import hybrid_layers
from fulmen.parallel.ranks import Ranks
from fulmen.train import checkpoints
from fulmen.train.checkpoints import CheckpointStore, CheckpointWriteError
from fulmen.train.losses import supervised_loss
from fulmen.train.packing import PackedBatch
from fulmen.train.trainer import Trainer


def make_store(folder: Path, keep: int = 2) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints", keep=keep, ranks=Ranks())


def take_steps(made: Trainer, count: int) -> list[float]:
    losses = []
    for n in range(count):
        losses.append(
            made.forward_backward([PackedBatch.pack([sample(n, 12), sample(n + 1, 9)])], supervised_loss).loss
        )
        made.clip_gradients()
        made.step(learning_rate=1e-2)
    return losses


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_weights_optimizer_and_random_state_come_back_exactly(tmp_path: Path) -> None:
    made, store = trainer(), make_store(tmp_path)
    take_steps(made, 3)
    store.save(3, made, {"stage": "first", "data": {"position": 7}})
    drawn, expected = torch.rand(4), take_steps(made, 3)
    found, other = store.newest(), trainer(seed=1)
    store.restore(found, other)
    assert (found.step, found.progress) == (3, {"stage": "first", "data": {"position": 7}})
    assert torch.equal(torch.rand(4), drawn)
    assert take_steps(other, 3) == expected


def test_the_newest_stay(tmp_path: Path) -> None:
    made, store = trainer(), make_store(tmp_path, keep=2)
    for step in (0, 5, 10):
        store.save(step, made, {})
    assert names(tmp_path) == ["step-00000005", "step-00000010"]
    assert store.trusted(first_step=0, last_step=7).step == 5
    assert store.trusted(first_step=0, last_step=3).step == 5
    assert store.trusted(first_step=11, last_step=20) is None
    store.forget_after(5)
    assert names(tmp_path) == ["step-00000005"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "no manifest", "broken manifest"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, damage: str) -> None:
    made, store = trainer(), make_store(tmp_path)
    for step in (1, 2):
        store.save(step, made, {"stage": "first"})
    newest = tmp_path / "checkpoints" / "step-00000002"
    data = newest / "__0_0.distcp"
    content = bytearray(data.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif damage == "cut":
        data.write_bytes(content[:-1])
    elif damage == "missing":
        data.unlink()
    elif damage == "no manifest":
        (newest / "manifest.json").unlink()
    else:
        (newest / "manifest.json").write_text("[1")
    with pytest.warns(UserWarning, match="step-00000002 is damaged"):
        assert store.newest().step == 1
    store.save(2, made, {"stage": "first"})  # the run comes by again
    assert store.newest().step == 2


def damage(folder: Path, step: int) -> None:
    (folder / "checkpoints" / f"step-{step:08}" / "progress.json").write_text("{")


def test_a_damaged_checkpoint_takes_no_place_of_a_good_one(tmp_path: Path) -> None:
    made, store = trainer(), make_store(tmp_path)
    for step in (1, 2):
        store.save(step, made, {})
    damage(tmp_path, 2)
    with pytest.warns(UserWarning, match="step-00000002 is damaged"):
        assert store.newest().step == 1
    one = make_store(tmp_path, keep=1)
    one.save(1, made, {})  # the run went on from step 1, and it is time to save before it is at step 2 again
    assert names(tmp_path) == ["step-00000001"]
    assert one.newest().step == 1


def test_a_run_does_not_silently_begin_anew_where_all_is_damaged(tmp_path: Path) -> None:
    made, store = trainer(), make_store(tmp_path)
    for step in (1, 2):
        store.save(step, made, {})
        damage(tmp_path, step)
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(ValueError, match="all 2 checkpoints in .* damaged"):
        store.newest()


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    (tmp_path / "checkpoints" / ".step-00000003.partial").mkdir(parents=True)
    store.save(7, trainer(), {})
    assert names(tmp_path) == ["step-00000007"]


def test_a_kill_while_one_makes_way_for_another_of_its_step_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, store = trainer(), make_store(tmp_path, keep=1)
    store.save(1, made, {"stage": "first"})
    rename = Path.rename

    def killed(path: Path, target: Path) -> None:
        if path.suffix == ".partial":
            raise SystemExit
        rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(SystemExit):
        store.save(1, made, {"stage": "second"})
    monkeypatch.undo()
    assert store.newest().progress == {"stage": "first"}
    store.save(1, made, {"stage": "second"})
    assert names(tmp_path) == ["step-00000001"]
    assert store.newest().progress == {"stage": "second"}


def test_an_interruption_while_saving_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_store(tmp_path).save(1, trainer(), {})


@pytest.mark.parametrize(
    "changes", [{"hidden_size": 16, "head_dim": 4, "rotary_dim": 2}, {"layers": hybrid_layers(3, softmax_every=2)}]
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    store = make_store(tmp_path)
    store.save(1, trainer(), {})
    with pytest.raises(ValueError, match="step-00000001 does not fit the model: .*begin a new one"):
        store.restore(store.newest(), trainer(CONFIG.replace(**changes)))


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert make_store(tmp_path).newest() is None


@pytest.mark.parametrize("moment", ["tensors", "seal"])
def test_a_failing_write_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    made, store = trainer(), make_store(tmp_path)
    store.save(1, made, {})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((torch, "save") if moment == "tensors" else (checkpoints, "_flush")), full)
    with pytest.raises(CheckpointWriteError, match=r"step 2 could not be written .*No space left on device.*intact"):
        store.save(2, made, {})
    monkeypatch.undo()
    assert names(tmp_path) == ["step-00000001"]
    assert store.newest().step == 1


def test_a_disk_limit_of_the_system_leaves_the_one_before(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_checkpoints import make_store, trainer
store, made = make_store(Path(sys.argv[1])), trainer()
store.save(1, made, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
store.save(2, made, {})
"""
    command = [sys.executable, "-c", code, tmp_path, Path(__file__).parent]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "CheckpointWriteError: the checkpoint of step 2 could not be written" in run.stderr
    assert "File too large" in run.stderr
    assert names(tmp_path) == ["step-00000001"]
    assert make_store(tmp_path).newest().step == 1
