"""The steps of a recipe: texts, vocabulary, training, the finished checkpoint. Each is skipped where it is done.

A recipe's folder::

    recipe.json     what is being made; another recipe or scale needs another folder
    corpora/        the texts and their cards
    tokenizer/      the vocabulary, with the chat template
    training/       checkpoints, metrics.jsonl, and a folder of weights for each stage
    NAME/           the finished checkpoint in bfloat16
"""

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer, read_json
from fulmen.model.weights import load_checkpoint, save_checkpoint
from fulmen.tasks.task import Task
from fulmen.train.corpora import CorpusCard, Report, build_corpora
from fulmen.train.cost import count_parameters
from fulmen.train.data.files import Writing
from fulmen.train.data.opening import open_stages
from fulmen.train.growth import config_after
from fulmen.train.recipe import CORPORA, Recipe, VocabularyTable
from fulmen.train.run import run_stages
from fulmen.train.tokenizer_training import train_tokenizer

Tasks = Mapping[str, Callable[[], Task]]


def begin(recipe: Recipe, folder: Path) -> None:
    """Claim a folder for a recipe.

    Raises:
        ValueError: another recipe was begun there.
    """
    file, facts = folder / "recipe.json", recipe.to_json(folder)
    if file.is_file() and read_json(file) != facts:
        raise ValueError(f"{folder} was begun with another recipe or scale: name another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def make_corpora(recipe: Recipe, folder: Path, report: Report) -> dict[str, CorpusCard]:
    """The texts that can be had, and their cards. Once there is a vocabulary, those that it was learned from.

    A text that can be had later only would change the data of a run that goes on.
    """
    names = recipe.recipe.corpora
    if (folder / "tokenizer" / "tokenizer.json").is_file():
        names = tuple(name for name in names if (folder / CORPORA / f"{name}.json").is_file())
    return build_corpora(names, folder / CORPORA, report=report)


def make_tokenizer(recipe: Recipe, folder: Path, corpora: Iterable[str], tasks: Tasks) -> Tokenizer:
    """Learn the vocabulary from the texts and from demonstrations of tasks, as the template renders them."""
    target = folder / "tokenizer"
    if not (target / "tokenizer.json").is_file():
        temporary = folder / ".tokenizer.new"
        shutil.rmtree(temporary, ignore_errors=True)
        texts = itertools.chain(
            _texts(folder / CORPORA / f"{name}.jsonl" for name in corpora),
            _demonstrations(recipe.vocabulary, tasks),
        )
        train_tokenizer(texts, temporary, vocab_size=recipe.vocabulary.size)
        temporary.replace(target)
    return Tokenizer.load(target)


def _texts(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["text"]


def _demonstrations(vocabulary: VocabularyTable, tasks: Tasks) -> Iterator[str]:
    template = ChatTemplate.minimax_m1()
    for name, factor in vocabulary.tasks.items():
        count = round(vocabulary.examples_per_task * factor)
        for example in itertools.islice(tasks[name]().examples("train", seed=0), count):
            messages = (*example.messages, example.demonstration)
            yield template.render(messages, example.tools, add_generation_prompt=False)


def train(recipe: Recipe, folder: Path, tasks: Tasks) -> None:
    """Carry out all stages, or continue where they were interrupted.

    Raises:
        ValueError: the weights will be larger than the recipe allows, data can't be read, or as `run_stages`.
    """
    writing = Writing.load(folder / "tokenizer")
    config = recipe.model.config(writing.tokenizer, length=recipe.stage[0].length)
    _require_size(recipe, 2 * count_parameters(config_after(config, recipe.stage)).total)
    run_stages(
        config,
        recipe.stage,
        open_stages(recipe.stage, writing, tasks, seed=recipe.recipe.seed, cache=folder / "tokens"),
        folder / "training",
        checkpoints=recipe.checkpoint,
        seed=recipe.recipe.seed,
        tokenizer_folder=folder / "tokenizer",
    )


def export(recipe: Recipe, folder: Path) -> Path:
    """Write the last stage's weights in bfloat16, with tokenizer, template and sampling, to `folder/NAME`.

    Raises:
        ValueError: the weights are larger than the recipe allows.
    """
    target = folder / recipe.recipe.name
    if (target / "config.json").is_file():
        return target
    source = folder / "training" / recipe.stage[-1].name
    temporary = folder / f".{recipe.recipe.name}.new"
    shutil.rmtree(temporary, ignore_errors=True)
    save_checkpoint(load_checkpoint(source, dtype=torch.bfloat16), temporary, family="minimax_m1")
    for file in (folder / "tokenizer").iterdir():
        shutil.copy2(file, temporary / file.name)
    sampling: dict[str, Any] = {
        "do_sample": recipe.sampling.temperature > 0,
        "temperature": recipe.sampling.temperature,
        "top_p": recipe.sampling.top_p,
    }
    if recipe.sampling.thinking_budget is not None:
        sampling["thinking_budget"] = recipe.sampling.thinking_budget
    generation = temporary / "generation_config.json"
    generation.write_text(json.dumps({**read_json(generation), **sampling}, indent=2) + "\n", encoding="utf-8")
    _require_size(recipe, sum(file.stat().st_size for file in temporary.glob("*.safetensors")))
    temporary.replace(target)
    return target


def _require_size(recipe: Recipe, size: int) -> None:
    limit = recipe.recipe.max_weight_bytes
    if limit is not None and size > limit:
        raise ValueError(
            f"the weights are {size / 1e6:.1f} MB and the recipe allows {limit / 1e6:.1f} MB: make the "
            "model smaller, or raise max_weight_bytes"
        )
