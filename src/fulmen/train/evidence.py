"""What is left of a step whose loss or gradient is no number: its batch in a file, and an error that says where."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from fulmen.trace import TrainingSample


class TrainingError(RuntimeError):
    """A run cannot go on; the message says why and where to look."""


def not_finite(
    what: str, samples: Iterable[TrainingSample], run_dir: Path, *, stage: str, step: int, rank: int = 0
) -> TrainingError:
    """Save the samples of a step as JSON lines, one per sequence, and return the error that ends the run.

    Args:
        what: says which number is none.
        samples: those that the process computed it from.
        run_dir: gets the file.
        stage: of the step.
        step: from 1, over all stages.
        rank: of the process.
    """
    file = run_dir / f"bad-batch-step-{step}-process-{rank}.jsonl"
    file.write_text("".join(json.dumps(dataclasses.asdict(sample)) + "\n" for sample in samples), encoding="utf-8")
    return TrainingError(
        f"stage {stage}, step {step}: {what}. The batch is saved in {file}; a lower learning rate or a longer warmup "
        "may help, if the data is sound"
    )
