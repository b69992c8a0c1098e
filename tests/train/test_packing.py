"""Micro-batches hold whole samples, only what is trained on is scored, and a packer continues where it was."""

import json

import pytest
from tiny_training import CountingSource, sample

from fulmen.trace import TrainingSample
from fulmen.train.packing import PackedBatch, Packer


def test_the_worked_example() -> None:
    first = TrainingSample(token_ids=(5, 6, 7), mask=(False, False, True), weights=(0, 0, 0.5))
    second = TrainingSample(token_ids=(8, 9), mask=(True, True), weights=(1, 2))
    batch = PackedBatch.pack([first, second])
    assert batch.tokens.tolist() == [5, 6, 7, 8, 9]
    assert batch.forward.positions.tolist() == [0, 1, 2, 0, 1]
    assert batch.indices.tolist() == [1, 3]
    assert batch.targets.tolist() == [7, 9]
    assert batch.weights.tolist() == [0.5, 2.0]


def test_every_sample_comes_once_and_no_batch_is_too_large() -> None:
    packer, source = Packer(CountingSource(), max_length=20, max_tokens=33), CountingSource()
    packed = [packer.next() for _ in range(50)]
    samples = [sample for batch in packed for sample in batch.samples]
    assert samples == [source.next() for _ in samples]
    assert all(len(batch.tokens) <= 33 for batch in packed)
    assert sum(len(batch.tokens) for batch in packed) > 0.7 * 50 * 33


def test_a_batch_may_be_filled_to_the_last_token() -> None:
    class Fixed(CountingSource):
        def next(self) -> TrainingSample:
            return sample(0, 8)

    packer = Packer(Fixed(), max_length=8, max_tokens=16)
    assert [len(packer.next().tokens) for _ in range(3)] == [16, 16, 16]


@pytest.mark.parametrize("batches", [0, 1, 7])
def test_a_packer_continues_exactly(batches: int) -> None:
    packer, other = (Packer(CountingSource(), max_length=20, max_tokens=33) for _ in range(2))
    for _ in range(batches):
        packer.next()
    other.load_state_dict(json.loads(json.dumps(packer.state_dict())))
    assert [packer.next().samples for _ in range(5)] == [other.next().samples for _ in range(5)]


def test_a_sample_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sample of \d+ tokens; the stage takes 1..6"):
        Packer(CountingSource(), max_length=6, max_tokens=100).next()
