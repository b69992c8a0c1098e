"""Recipes: from nothing to a model that chats, written down in one TOML file.

A recipe names its texts, sizes its vocabulary and model, lists the stages of training with their mixtures, and says how
the result is evaluated. `recipe_steps` carries it out. Beside the tables of a run (`configuration`) a recipe has::

    [recipe]
    name = "spark"
    corpora = ["python_docs", "wordnet"]    # of corpora.toml; `path = "corpora/wordnet.jsonl"` in a stage's data

    [vocabulary]
    size = 8192

    [mixtures.calls]                        # weights of tasks by name or pattern, the last that fits wins, 0: none
    "*" = 1.0
    "tool_calls" = 4.0

Whatever has `tasks` (a stage's data of that kind, the vocabulary, the evaluation) may name a mixture instead of a
table: `tasks = "calls"`. No torch here.
"""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any

from fulmen.train.configuration import NewModel, StageTable, TaskData, TextData, data_tables
from fulmen.train.settings import CheckpointSettings, require_distinct_names
from fulmen.train.tables import read_table

CORPORA = "corpora"
"""The folder of the texts within a recipe's folder."""


@dataclass(frozen=True, kw_only=True)
class RecipeTable:
    """What is made, and of which texts.

    Example: `RecipeTable(name="spark", corpora=("python_docs", "wordnet"))`.
    """

    name: str
    """Names the folder of the finished checkpoint."""
    corpora: tuple[str, ...]
    """Names of `corpora.toml`; those that can't be had are left out."""
    seed: int = 0
    max_weight_bytes: int | None = None
    """The largest file of weights that is allowed to come out."""

    def __post_init__(self) -> None:
        taken = (CORPORA, "tokenizer", "tokens", "training")
        if self.name in taken or not self.name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(
                f"name is {self.name!r}; it names a folder beside {', '.join(taken)}, of letters, digits, - and _"
            )


@dataclass(frozen=True, kw_only=True)
class VocabularyTable:
    """The vocabulary, learned from the texts and from demonstrations of all tasks.

    Example: `VocabularyTable(size=8192, examples_per_task=2000, tasks={"addition": 1.0})`.
    """

    size: int
    tasks: Mapping[str, float]
    """Tasks whose demonstrations are read, and the factor of each on `examples_per_task`."""
    examples_per_task: int = 2000


@dataclass(frozen=True, kw_only=True)
class SamplingTable:
    """How the finished model is meant to be sampled; goes into its `generation_config.json`.

    Example: `SamplingTable(temperature=0.0)` always takes the likeliest token.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    thinking_budget: int | None = None
    """Most tokens of thinking, unless a user says another number; None: no limit."""

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and 0 < self.top_p <= 1):
            raise ValueError(
                f"temperature is {self.temperature} and top_p {self.top_p}; they must be at least 0 and within (0, 1]"
            )
        if self.thinking_budget is not None and self.thinking_budget < 1:
            raise ValueError(f"thinking_budget is {self.thinking_budget}; it must be at least 1, or left out")


@dataclass(frozen=True, kw_only=True)
class EvaluationTable:
    """Held-out problems at the end, answered greedily.

    Example: `EvaluationTable(tasks={"addition": 1.0, "recall_16k": 0.2}, examples=500, seed=1, max_tokens=512)`.
    """

    tasks: Mapping[str, float]
    """Tasks that are evaluated, and the factor of each on `examples`."""
    examples: int = 500
    seed: int = 1
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe at a scale, its mixtures spelled out.

    Example: `read_recipe("spark", Path("runs/spark"), scale=0.01, task_names=TASKS).stage[0].tokens`.
    """

    recipe: RecipeTable
    vocabulary: VocabularyTable
    model: NewModel
    stage: tuple[StageTable, ...]
    evaluation: EvaluationTable
    sampling: SamplingTable = SamplingTable()
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)

    def __post_init__(self) -> None:
        if not self.stage:
            raise ValueError("stage is empty: a recipe needs at least one")
        require_distinct_names(self.stage)

    def tasks(self) -> dict[str, Mapping[str, float]]:
        """Every table of tasks, by its place in the file."""
        named = {"vocabulary": self.vocabulary.tasks, "evaluation": self.evaluation.tasks}
        for i, stage in enumerate(self.stage):
            named |= {f"stage[{i}].data[{j}]": e.tasks for j, e in enumerate(stage.data) if isinstance(e, TaskData)}
        return named

    def to_json(self, folder: Path) -> dict[str, Any]:
        """Everything that decides the result, as JSON-like data; paths are relative to `folder`."""

        def relative(path: Path) -> str:
            return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

        facts: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=relative))
        return facts

    def scaled(self, scale: float) -> "Recipe":
        """The same recipe with every budget (tokens, warmup, examples) multiplied; at least one step or a few examples.

        Raises:
            ValueError: `scale` is not positive.
        """
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale is {scale}; it must be positive")
        few = 4
        return dataclasses.replace(
            self,
            stage=tuple(_scaled_stage(stage, scale) for stage in self.stage),
            vocabulary=dataclasses.replace(
                self.vocabulary, examples_per_task=max(few, round(self.vocabulary.examples_per_task * scale))
            ),
            evaluation=dataclasses.replace(self.evaluation, examples=max(few, round(self.evaluation.examples * scale))),
        )

    def with_corpora(self, names: Iterable[str]) -> "Recipe":
        """The recipe for the corpora that could be had: those left take the share of the others in each stage.

        Raises:
            ValueError: a stage has no text left.
        """
        missing = {f"{name}.jsonl" for name in set(self.recipe.corpora) - set(names)}

        def is_gone(entry: object) -> bool:
            return isinstance(entry, TextData) and entry.path.parent.name == CORPORA and entry.path.name in missing

        stages = []
        for stage in self.stage:
            texts = [entry for entry in stage.data if isinstance(entry, TextData)]
            left = sum(entry.weight for entry in texts if not is_gone(entry))
            if texts and not left:
                raise ValueError(f"stage {stage.name} has no text: none of its corpora could be had")
            factor = sum(entry.weight for entry in texts) / left if texts else 1.0
            data = tuple(
                dataclasses.replace(entry, weight=entry.weight * factor) if isinstance(entry, TextData) else entry
                for entry in stage.data
                if not is_gone(entry)
            )
            stages.append(dataclasses.replace(stage, data=data))
        return dataclasses.replace(self, stage=tuple(stages))


@dataclass(frozen=True, kw_only=True)
class _Mixtures:
    mixtures: Mapping[str, Mapping[str, float]]


def recipe_names() -> list[str]:
    """The recipes that the package has."""
    found = files("fulmen.train").joinpath("recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in found if file.name.endswith(".toml"))


def recipe_text(name_or_path: str) -> str:
    """The TOML of a recipe of the package, or of a file; ValueError lists the names there are."""
    path = Path(name_or_path)
    if path.suffix == ".toml" and path.is_file():
        return path.read_text(encoding="utf-8")
    if name_or_path not in recipe_names():
        raise ValueError(f"no recipe is called {name_or_path!r}; known are {', '.join(recipe_names())}, or give a file")
    return files("fulmen.train").joinpath("recipes", f"{name_or_path}.toml").read_text(encoding="utf-8")


def read_recipe(name_or_path: str, folder: Path, *, task_names: Iterable[str], scale: float = 1.0) -> Recipe:
    """Read a recipe to be carried out in `folder`.

    Args:
        name_or_path: a recipe of the package, or a TOML file.
        folder: where relative paths start.
        task_names: all that mixtures may mean.
        scale: multiplies every budget.

    Raises:
        ValueError: there is no such recipe, or it is wrong; the message names the table and the key.
    """
    known = list(task_names)
    try:
        document = tomllib.loads(recipe_text(name_or_path))
        _spell_mixtures_out(document, known)
        recipe = read_table(Recipe, document, "", base=folder).scaled(scale)
        _require_known(recipe, folder, known)
        return recipe
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise ValueError(f"recipe {name_or_path}: {error}") from error


def _spell_mixtures_out(document: dict[str, Any], task_names: list[str]) -> None:
    """Replace the names of mixtures by tables of tasks and weights."""
    mixtures = read_table(_Mixtures, {"mixtures": document.pop("mixtures", {})}, "", base=Path()).mixtures
    named = {key: document[key] for key in ("vocabulary", "evaluation") if isinstance(document.get(key), dict)}
    for where, entry in (named | data_tables(document)).items():
        name = entry.get("tasks")
        if isinstance(name, str):
            if name not in mixtures:
                raise ValueError(f"{where} has a mixture {name!r}, and [mixtures] has none such")
            entry["tasks"] = _weights(name, mixtures[name], task_names)


def _require_known(recipe: Recipe, folder: Path, task_names: list[str]) -> None:
    """ValueError if a task has no such name, or a stage reads a corpus that the recipe doesn't list."""
    for where, tasks in recipe.tasks().items():
        for name in tasks:
            if name not in task_names:
                near = difflib.get_close_matches(name, task_names, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(task_names)}"
                raise ValueError(f"{where}: no task is called {name!r}: {hint}")
    for i, stage in enumerate(recipe.stage):
        for j, entry in enumerate(stage.data):
            is_corpus = isinstance(entry, TextData) and entry.path.parent == folder / CORPORA
            if isinstance(entry, TextData) and is_corpus and entry.path.stem not in recipe.recipe.corpora:
                raise ValueError(
                    f"stage[{i}].data[{j}] reads {CORPORA}/{entry.path.name}, which is not among the corpora of "
                    f"[recipe]: {', '.join(recipe.recipe.corpora)}"
                )


def _weights(mixture: str, patterns: Mapping[str, float], task_names: list[str]) -> dict[str, float]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in task_names):
            raise ValueError(
                f"mixtures.{mixture} has {pattern!r}, which fits none of the tasks {', '.join(task_names)}"
            )
    weights = {
        name: [weight for pattern, weight in patterns.items() if fnmatchcase(name, pattern)] for name in task_names
    }
    return {name: float(fitting[-1]) for name, fitting in weights.items() if fitting and fitting[-1] != 0}


def _scaled_stage(stage: StageTable, scale: float) -> StageTable:
    schedule = dataclasses.replace(stage.schedule, warmup_steps=round(stage.schedule.warmup_steps * scale))
    tokens = max(stage.tokens_per_step, round(stage.tokens * scale))
    return dataclasses.replace(stage, tokens=tokens, schedule=schedule)
