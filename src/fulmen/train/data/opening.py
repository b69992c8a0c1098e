"""A stage's `[[stage.data]]` tables to the one source that its samples come from."""

import dataclasses
import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from fulmen.tasks.task import Task
from fulmen.train.configuration import DataSettings, StageTable, TaskData, VocabularyData
from fulmen.train.data.configured import ConfiguredSource
from fulmen.train.data.conversations import EarlierTurns
from fulmen.train.data.files import Writing, read_files
from fulmen.train.data.mixture import Mixture
from fulmen.train.data.problems import ProblemSource
from fulmen.train.data.retelling import Retelling
from fulmen.train.data.stored import StoredSource, TooLong
from fulmen.train.data.vocabulary import VocabularySource
from fulmen.train.settings import StageSettings
from fulmen.train.source import SampleSource

_RETOLD = 0.75


def open_stages(
    stages: Sequence[StageTable],
    writing: Writing,
    tasks: Mapping[str, Callable[[], Task]],
    *,
    seed: int,
    cache: Path,
) -> Callable[[StageSettings], SampleSource]:
    """Open the data of all stages, which have different names; returns the source by stage.

    All of it at once, so that a complaint about the last stage's data comes before the first step. The arguments and
    errors are those of `open_data`.
    """
    sources = {stage.name: open_data(stage, writing, tasks, seed=seed, cache=cache) for stage in stages}
    return lambda stage: sources[stage.name]


def open_data(
    stage: StageTable, writing: Writing, tasks: Mapping[str, Callable[[], Task]], *, seed: int, cache: Path
) -> SampleSource:
    """Open all data of a stage: a mixture by weight, counted in tokens, which goes on with the same settings only.

    Args:
        stage: its data, and the length that no sample exceeds.
        writing: how text becomes tokens.
        tasks: makers of tasks by name.
        seed: of the run; each source of each stage has an order of its own.
        cache: a folder for tokenised files.

    Raises:
        ValueError: a task is unknown, or a file can't be read; the message names it.
    """

    def opened(entry: DataSettings, index: int) -> SampleSource:
        own_seed = _derive(seed, stage.name, index)
        if isinstance(entry, TaskData):
            return _open_tasks(entry, stage.length, writing, tasks, own_seed)
        if isinstance(entry, VocabularyData):
            return VocabularySource(writing, length=stage.length, seed=own_seed)
        store = read_files(entry, writing, cache)
        try:
            too_long: TooLong = "cut" if entry.kind == "text" else "leave_out"
            return StoredSource(store, length=stage.length, too_long=too_long, seed=own_seed)
        except ValueError as error:
            raise ValueError(f"{entry.path}: {error}") from error

    def configured(entry: DataSettings, index: int) -> SampleSource:
        settings = {"length": stage.length} | dataclasses.asdict(entry)
        path = settings.pop("path", None)  # files may be moved: their contents tell whether they are the same
        place = f"stage {stage.name}, data[{index}]" + (f", {path}" if path else "")
        return ConfiguredSource(opened(entry, index), settings, place=place)

    entries = enumerate(stage.data)
    return Mixture({f"data[{index}]": (configured(entry, index), entry.weight) for index, entry in entries})


def _open_tasks(
    data: TaskData, length: int, writing: Writing, tasks: Mapping[str, Callable[[], Task]], seed: int
) -> Mixture:
    opened: dict[str, tuple[Task, float]] = {}
    for name, weight in data.tasks.items():
        if name not in tasks:
            near = difflib.get_close_matches(name, tasks, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(tasks))}"
            raise ValueError(f"no task is called {name!r}: {hint}")
        opened[name] = (tasks[name](), weight)
    earlier = EarlierTurns(opened, fraction=data.later_turns, seed=seed)
    sources: dict[str, tuple[SampleSource, float]] = {}
    for name, (task, weight) in opened.items():
        retold = any(fnmatchcase(name, pattern) for pattern in data.retold)
        source = ProblemSource(
            task,
            writing,
            length=length,
            train_on=data.train_on,
            keep_thinking=data.keep_thinking,
            seed=seed,
            earlier=earlier,
            retelling=Retelling(writing.tokenizer, fraction=_RETOLD if retold else 0.0),
        )
        sources[name] = (source, weight)
    return Mixture(sources)


def _derive(seed: int, stage: str, index: int) -> int:
    digest = hashlib.blake2b(f"{seed} {stage} {index}".encode(), digest_size=8)
    return int.from_bytes(digest.digest())
