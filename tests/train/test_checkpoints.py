"""A checkpoint is whole or not there: full disks, damaged files and kills leave the one before in its place."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import sample, trainer

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
from test_checkpoints import make_store, trainer
store, made = make_store(Path(sys.argv[1])), trainer()
store.save(1, made, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
store.save(2, made, {})
"""
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert "CheckpointWriteError: the checkpoint of step 2 could not be written" in run.stderr
    assert "File too large" in run.stderr
    assert names(tmp_path) == ["step-00000001"]
    assert make_store(tmp_path).newest().step == 1
