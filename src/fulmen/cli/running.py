"""From a model's name to a model that answers: pulled if need be, loaded, with an engine around it.

The choices that the user left open are made here, and `RunningModel.label` says what they were.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from fulmen.catalog import MODELS, folder_of
from fulmen.chat.prompt import THINKING_BUDGET_40K, THINKING_BUDGET_80K
from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer, read_json
from fulmen.cli.options import Quantize
from fulmen.trace import SamplingParams

if TYPE_CHECKING:
    from fulmen.engine.engine import EngineOptions
    from fulmen.engine.service import Service
    from fulmen.model.decoder import Decoder

_GENERATION = "generation_config.json"
_THINKING_BUDGETS = {"minimax-m1-40k": THINKING_BUDGET_40K, "minimax-m1-80k": THINKING_BUDGET_80K}
_SAMPLED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model with what belongs to it."""

    name: str
    label: str
    """What runs, in a few words: the name, the size, the precision of the weights, the device."""
    folder: Path
    decoder: "Decoder"
    tokenizer: Tokenizer
    template: ChatTemplate
    sampling: SamplingParams
    """As the publisher recommends."""
    thinking_budget: int | None
    """The checkpoint's, or else the published version's: 40K and 80K for MiniMax-M1; None elsewhere."""


@dataclass(frozen=True, kw_only=True)
class RunningModel(LoadedModel):
    """A model with its engine, ready for prompts."""

    service: "Service"

    def params(
        self, *, temperature: float | None, top_p: float | None, max_tokens: int | None = None, seed: int | None = None
    ) -> SamplingParams:
        """Sampling as the publisher recommends where the user chose nothing."""
        return replace(
            self.sampling,
            temperature=self.sampling.temperature if temperature is None else temperature,
            top_p=self.sampling.top_p if top_p is None else top_p,
            max_tokens=max_tokens,
            seed=seed,
        )


def model_folder(name: str) -> Path:
    """Return the folder of a checkpoint; a model that is not there yet is pulled first, with progress on stderr.

    Raises:
        ValueError: nothing of this name is known, or it is too large to be pulled.
        OSError: it could not be fetched.
    """
    from fulmen.catalog import resolve
    from fulmen.pull import pull

    if (Path(name).expanduser() / "config.json").is_file() or Path(name).is_dir():
        return resolve(name)
    if name in MODELS and (folder_of(name) / "config.json").is_file():
        return folder_of(name)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None)

        def report(stage: str, fraction: float) -> None:
            progress.update(task, description=f"{name}: {stage}", completed=fraction, total=1.0 if fraction else None)

        return pull(name, report=report)


def recommended_sampling(name: str, folder: Path) -> SamplingParams:
    """What the publisher recommends: the checkpoint's `generation_config.json`, else the catalog, else 1 and 0.95."""
    known = dict(MODELS[name].sampling) if name in MODELS else {}
    file = folder / _GENERATION
    facts = read_json(file)
    given = {key: facts[key] for key in _SAMPLED if facts.get(key) is not None}
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{file}: {key} is {value!r:.60}; it must be a number or null")
    if facts.get("do_sample") is False:
        given["temperature"] = 0.0
    try:
        return replace(SamplingParams(), **(known | given))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def preset_thinking_budget(name: str, folder: Path) -> int | None:
    """Most tokens of thinking that the checkpoint's `generation_config.json` allows, else those of the name's version.

    Raises:
        ValueError: the file's `thinking_budget` is no positive whole number.
    """
    file = folder / _GENERATION
    budget = read_json(file).get("thinking_budget")
    if budget is None:
        return _THINKING_BUDGETS.get(name)
    if type(budget) is not int or budget < 1:
        raise ValueError(
            f"{file} has the thinking_budget {budget!r}: make it a positive whole number of tokens, or "
            "leave it out for no limit"
        )
    return budget


def load(
    name: str, *, quantize: Quantize = "auto", device: str | None = None, threads: int | None = None
) -> LoadedModel:
    """Load a model by its name or folder, and pull it if need be."""
    folder = model_folder(name)
    sampling, thinking_budget = recommended_sampling(name, folder), preset_thinking_budget(name, folder)
    with Console(stderr=True).status(f"Loading {name}") if sys.stderr.isatty() else _silence():
        import torch

        import fulmen
        from fulmen.kernels import native

        if threads is not None:
            torch.set_num_threads(threads)
        if device is not None:
            _check_device(device)
        on_cpu = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")).type == "cpu"
        if quantize == "auto":
            quantize = "int8" if on_cpu and native.available() else "none"
        decoder = fulmen.load(folder, device=device, quantize="int8" if quantize == "int8" else None)
        size = sum(tensor.numel() for key, tensor in decoder.state_dict().items() if not key.endswith("_scale"))
        if decoder.config.tied_embeddings:
            size -= decoder.config.vocab_size * decoder.config.hidden_size  # it is there under two names
        short = name if name in MODELS else folder.resolve().name
        return LoadedModel(
            name=short,
            label=f"{short}, {_count(size)} parameters, {decoder.precision} on {decoder.model.norm.weight.device}",
            folder=folder,
            decoder=decoder,
            tokenizer=Tokenizer.load(folder),
            template=ChatTemplate.load(folder),
            sampling=sampling,
            thinking_budget=thinking_budget,
        )


@contextmanager
def running(loaded: LoadedModel, options: "EngineOptions | None" = None) -> Iterator[RunningModel]:
    """Run an engine for a model as long as the context lasts."""
    from fulmen.engine.engine import Engine
    from fulmen.engine.service import Service

    service = Service(Engine(loaded.decoder, loaded.tokenizer, options=options))
    try:
        yield RunningModel(**vars(loaded), service=service)
    finally:
        service.close()


def _check_device(device: str) -> None:
    """Refuse a device that torch does not know or that this machine lacks."""
    import torch

    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # an AssertionError: torch is built without it
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {device} can't be used; leave it out, or give cpu or cuda ({reason})") from error


@contextmanager
def _silence() -> Iterator[None]:
    yield


def _count(number: int) -> str:
    return f"{number / 1e9:.1f}B" if number >= 1e9 else f"{number / 1e6:.0f}M"
