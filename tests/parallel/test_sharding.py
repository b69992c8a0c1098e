"""Two sharded processes train as one does, and a kill of one loses nothing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fulmen.model.weights import load_checkpoint
from fulmen.parallel.ranks import Ranks, joined
from fulmen.runlog import read_metrics

SCRIPT = str(Path(__file__).parents[1] / "train" / "tiny_training.py")
ALONE = [sys.executable, SCRIPT]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT]


def start(command: list[str], folder: Path, *options: str) -> int:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, folder, *options], env=environment, check=False).returncode


def metrics(folder: Path) -> list[dict[str, Any]]:
    clocks = ("seconds", "tokens_per_second")
    return [{k: v for k, v in line.items() if k not in clocks} for line in read_metrics(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    assert start(TWO, folder) == 0
    return folder


def test_two_processes_train_as_one(sharded: Path, tmp_path: Path) -> None:
    assert start(ALONE, tmp_path) == 0
    for one, two in zip(metrics(tmp_path), metrics(sharded), strict=True):
        for name, value in one.items():
            assert two[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5)), name
    one, two = (load_checkpoint(folder / "second") for folder in (tmp_path, sharded))
    for name, parameter in one.named_parameters():
        torch.testing.assert_close(parameter, two.get_parameter(name), atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("call", [12, 21])  # each process computes two micro-batches per step: steps 6 and 11
def test_a_killed_run_of_two_continues_to_the_last_bit(sharded: Path, tmp_path: Path, call: int) -> None:
    assert start(TWO, tmp_path, "--die-at", str(call)) != 0
    assert len(metrics(tmp_path)) == (call - 1) // 2
    assert start(TWO, tmp_path) == 0
    assert metrics(tmp_path) == metrics(sharded)


def test_one_process_continues_what_two_began(sharded: Path, tmp_path: Path) -> None:
    assert start(TWO, tmp_path, "--die-at", "12") != 0
    assert start(ALONE, tmp_path) == 0
    for one, two in zip(metrics(tmp_path), metrics(sharded), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)


def test_a_process_alone_needs_no_group() -> None:
    with joined() as ranks:
        assert (ranks.rank, ranks.world_size, ranks.first) == (0, 1, True)
    assert Ranks().agree("as it is") == "as it is"
    assert Ranks().sum(torch.ones(2)).tolist() == [1.0, 1.0]
