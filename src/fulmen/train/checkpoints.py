"""Checkpoints of a run: everything that the next step depends on, written whole or not at all.

A checkpoint is a folder `step-00000120` of torch.distributed.checkpoint, with two files beside the tensors:
`progress.json` (stage, step, position in the data, guard) and `manifest.json` (size and hash of every file). It is
written under another name, read back, flushed to the disk and renamed, so a kill or a full disk at any time leaves the
one before intact. The newest whose files match its manifest is the one that a run continues from.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from fulmen.parallel.ranks import Ranks
from fulmen.train.trainer import Trainer

_MANIFEST, _PROGRESS = "manifest.json", "progress.json"
_PARTIAL, _REPLACED = ".partial", ".replaced"  # ends of hidden names: being written, making way


class CheckpointWriteError(RuntimeError):
    """A checkpoint could not be written; the ones before are intact."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was found whole.

    Example: `Checkpoint(path=Path("run/checkpoints/step-00000120"), step=120, progress={"stage": "pretrain", ...})`.
    """

    path: Path
    step: int
    progress: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one run, of which the newest `keep` stay. Called by all processes together."""

    def __init__(self, folder: Path, *, keep: int, ranks: Ranks) -> None:
        self._folder = folder
        self._keep = keep
        self._ranks = ranks

    def save(self, step: int, trainer: Trainer, progress: dict[str, Any]) -> None:
        """Write weights, optimizer, random state and progress; then let old checkpoints go."""
        temporary = self._folder / f".step-{step:08}{_PARTIAL}"
        if self._ranks.first:
            for abandoned in self._folder.glob(f".*{_PARTIAL}"):  # by a kill, perhaps at another step
                shutil.rmtree(abandoned, ignore_errors=True)
            temporary.mkdir(parents=True)
        self._ranks.wait()
        problem = None
        try:
            with _alone_is_fine():
                save(_tensors(trainer, self._ranks), checkpoint_id=temporary, no_dist=self._ranks.world_size == 1)
            if self._ranks.first:
                _seal(temporary, progress)
                _swap(temporary, self._path(step))
        except (OSError, CheckpointException) as error:
            problem = error
            if isinstance(_first_failure(error), KeyboardInterrupt):  # torch wraps that too
                raise KeyboardInterrupt from error
        failed = self._ranks.agree(problem is not None)  # a failing save fails on all; the rest is the first's
        if failed:
            if self._ranks.first:
                shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointWriteError(
                f"the checkpoint of step {step} could not be written to {self._folder} ({_cause(problem)}); those "
                "before it are intact: make room and run the same command again"
            ) from problem
        if self._ranks.first:
            steps = self._steps()
            current = steps.index(step)  # those of later steps are damaged, or else the run would stand there
            for old in (*steps[:current], *steps[current + self._keep :]):
                shutil.rmtree(self._path(old))

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint; a damaged one is passed over with a warning.

        Raises:
            ValueError: there are checkpoints, and all of them are damaged.
        """
        found = None
        if self._ranks.first:
            _take_back(self._folder)
            found = self._first_whole(self._steps())
        found, count = self._ranks.agree((found, len(self._steps())))
        if found is None and count:
            raise ValueError(
                f"all {count} checkpoints in {self._folder} are damaged: there is nothing to go on from. To begin "
                "anew, remove that folder"
            )
        return found

    def trusted(self, *, first_step: int, last_step: int) -> Checkpoint | None:
        """The newest whole checkpoint of steps within first..last, or else the oldest after them."""
        steps = [step for step in self._steps() if step >= first_step]
        order = [step for step in steps if step <= last_step] + [step for step in steps[::-1] if step > last_step]
        return self._ranks.agree(self._first_whole(order) if self._ranks.first else None)

    def restore(self, checkpoint: Checkpoint, trainer: Trainer) -> None:
        """Fill weights, optimizer and random state in place; the progress is the caller's.

        Raises:
            ValueError: the checkpoint is one of another model.
        """
        tensors = _tensors(trainer, self._ranks)
        reader = FileSystemReader(checkpoint.path)
        if f"random.{self._ranks.rank}" not in reader.read_metadata().state_dict_metadata:
            del tensors["random"]  # it was written by fewer processes
        try:
            with _alone_is_fine():
                load(tensors, storage_reader=reader, no_dist=self._ranks.world_size == 1)
        except CheckpointException as error:
            raise ValueError(
                f"{checkpoint.path} does not fit the model: {_cause(error)}. Restore what the run was begun with, or "
                "begin a new one in another folder"
            ) from error
        if "random" in tensors:
            torch.set_rng_state(tensors["random"][str(self._ranks.rank)])

    def forget_after(self, step: int) -> None:
        """Delete the checkpoints of later steps: the run went back before them."""
        if self._ranks.first:
            for later in self._steps():
                if later > step:
                    shutil.rmtree(self._path(later))
        self._ranks.wait()

    def _first_whole(self, steps: Iterable[int]) -> Checkpoint | None:
        for step in steps:
            path = self._path(step)
            damage = _damage(path)
            if damage is None:
                progress = json.loads((path / _PROGRESS).read_text(encoding="utf-8"))
                return Checkpoint(path=path, step=step, progress=progress)
            warnings.warn(f"checkpoint {path} is damaged ({damage}); another is used", stacklevel=4)
        return None

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:08}"

    def _steps(self) -> list[int]:
        """Steps with a checkpoint, newest first."""
        names = [path.name.removeprefix("step-") for path in self._folder.glob("step-*") if path.is_dir()]
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)


@contextmanager
def _alone_is_fine() -> Iterator[None]:
    """Silence torch's warning that there is a single process, which it was told."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _tensors(trainer: Trainer, ranks: Ranks) -> dict[str, Any]:
    """The tensors of a checkpoint by name: those of the model and the optimizer themselves, no copies."""
    parameters = dict(trainer.scorer.named_parameters())
    return {
        "model": {name: parameter.detach() for name, parameter in parameters.items()},
        "optimizer": {name: trainer.optimizer.state[parameter] for name, parameter in parameters.items()},
        "random": {str(ranks.rank): torch.get_rng_state()},
    }


def _seal(folder: Path, progress: dict[str, Any]) -> None:
    """Add progress and manifest, and flush all to the disk."""
    (folder / _PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
    manifest = {file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in _files(folder)}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in (*_files(folder), folder / _MANIFEST, folder):
        _flush(path)


def _swap(temporary: Path, target: Path) -> None:
    """Give a finished folder its name; one of the same step, as the end of the stage before, makes way."""
    replaced = target.with_name(f".{target.name}{_REPLACED}")
    shutil.rmtree(replaced, ignore_errors=True)
    if target.exists():
        target.rename(replaced)
    temporary.rename(target)
    _flush(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _take_back(folder: Path) -> None:
    """Give a folder its name again that made way for one that a kill kept from coming."""
    for replaced in folder.glob(f".*{_REPLACED}"):
        target = folder / replaced.name.removeprefix(".").removesuffix(_REPLACED)
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            replaced.rename(target)


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        for name, facts in manifest.items():
            if (folder / name).stat().st_size != facts["bytes"]:
                return f"{name} has {(folder / name).stat().st_size} bytes instead of {facts['bytes']}"
            if _sha256(folder / name) != facts["sha256"]:
                return f"the hash of {name} differs from the manifest's"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _files(folder: Path) -> Iterator[Path]:
    """The files that a manifest lists."""
    return (file for file in sorted(folder.iterdir()) if file.name != _MANIFEST)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cause(error: BaseException | None) -> str:
    """What the operating system said first, on this process or on the first that torch says failed."""
    if error is None:
        return "another process failed"
    error = _first_failure(error)
    while error.__context__ is not None:  # a full disk is behind torch's "unexpected position" in its file
        error = error.__context__
    return str(error).strip().split("\n")[0]


def _first_failure(error: BaseException) -> BaseException:
    """What the first of the failing processes ran into."""
    if isinstance(error, CheckpointException) and error.failures:
        return next(iter(error.failures.values()))[0]
    return error
