"""What the file of a training run says: model, tokenizer, stages and their data, as frozen dataclasses.

A run of one stage::

    [run]
    name = "tiny"
    folder = "runs/tiny"

    [model]
    hidden_size = 256
    num_layers = 8
    num_heads = 4
    head_dim = 64
    intermediate_size = 256
    num_experts = 8

    [tokenizer]
    folder = "tokenizer"

    [[stage]]
    name = "pretrain"
    length = 1024
    tokens = 20_000_000
    tokens_per_step = 32_768
    tokens_per_micro_batch = 8192
    optimizer = { learning_rate = 2e-3 }

    [[stage.data]]
    kind = "text"
    path = "books.jsonl"

`[model]` may say `from = "checkpoint"` instead, a folder or a known name. Relative paths start from the folder of the
file. No torch here.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from fulmen import catalog
from fulmen.chat.tokenizer import Tokenizer
from fulmen.config import ModelConfig, ResidualScale, hybrid_layers
from fulmen.config_formats import read_config_file
from fulmen.train.settings import CheckpointSettings, StageSettings, require_distinct_names
from fulmen.train.tables import read_table

OnBroken = Literal["stop", "skip"]
TrainOn = Literal["replies", "all"]
"""Which tokens of a conversation are targets: those that the assistant wrote, with the end token, or all."""


@dataclass(frozen=True, kw_only=True)
class TextData:
    """Documents to read from the first token to the last.

    Example: `TextData(path=Path("books.jsonl"), weight=3.0)`.
    """

    path: Path
    """A `.jsonl` file whose lines have a `text`, another file (one document), or a folder of such files."""
    weight: float = 1.0
    """Share of the stage's tokens, relative to the weights of its other data."""
    on_broken: OnBroken = "stop"
    """What to do about a line or file that can't be read; `skip` counts and warns."""
    kind: Literal["text"] = "text"


@dataclass(frozen=True, kw_only=True)
class ChatData:
    """Conversations: a `.jsonl` file whose lines have `messages` and perhaps `tools`, in OpenAI's form.

    Example: `ChatData(path=Path("dialogues.jsonl"))`.
    """

    path: Path
    """The file, or a folder of such files."""
    weight: float = 1.0
    on_broken: OnBroken = "stop"
    train_on: TrainOn = "replies"
    kind: Literal["chat"] = "chat"


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """Problems that tasks generate, with their demonstrations, without end.

    Example: `TaskData(tasks={"addition": 2.0, "subtraction": 1.0})` reads two tokens of the one for each of the other.
    """

    tasks: Mapping[str, float]
    """Weight by name of the task."""
    weight: float = 1.0
    train_on: TrainOn = "replies"
    later_turns: float = 0.0
    """Fraction of the problems that come later in a conversation, after up to three others of these tasks."""
    keep_thinking: bool = False
    """Whether earlier replies of a conversation keep their thinking, and are trained on, too."""
    retold: tuple[str, ...] = ()
    """Of these tasks, by name or pattern, three problems in four are told with words of the whole vocabulary
    (`train.data.retelling`).
    """
    kind: Literal["tasks"] = "tasks"

    def __post_init__(self) -> None:
        if not 0 <= self.later_turns <= 1:
            raise ValueError(f"later_turns is {self.later_turns}; it is a fraction within 0..1")
        for pattern in self.retold:
            if not any(fnmatchcase(name, pattern) for name in self.tasks):
                raise ValueError(f"retold has {pattern!r}, which fits none of the tasks {', '.join(self.tasks)}")


@dataclass(frozen=True, kw_only=True)
class VocabularyData:
    """Random words from the whole vocabulary, half of them to be compared and half to be repeated or looked up, without
    end (`train.data.vocabulary`).

    Example: `VocabularyData(weight=0.5)`.
    """

    weight: float = 1.0
    kind: Literal["vocabulary"] = "vocabulary"


DataSettings = TextData | ChatData | TaskData | VocabularyData


@dataclass(frozen=True, kw_only=True)
class StageTable(StageSettings):
    """A stage with its data, `[[stage]]` in the file.

    Example: a `StageSettings` with `data=(TextData(path=Path("books.jsonl")),)`.
    """

    data: tuple[DataSettings, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data:
            raise ValueError("data is empty: a stage needs something to train on")
        weights = {f"data[{i}].weight": entry.weight for i, entry in enumerate(self.data)}
        for i, entry in enumerate(self.data):
            if isinstance(entry, TaskData):
                weights |= {f"data[{i}].tasks.{name}": weight for name, weight in entry.tasks.items()}
                if not entry.tasks:
                    raise ValueError(f"data[{i}].tasks is empty: name at least one task and its weight")
        for name, weight in weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"{name} is {weight}; a weight must be positive")


@dataclass(frozen=True, kw_only=True)
class NewModel:
    """A model of MiniMax-M1's architecture with random weights; the defaults are M1's choices.

    Example: `NewModel(hidden_size=256, num_layers=8, num_heads=4, head_dim=64, intermediate_size=256, num_experts=8)`.
    """

    hidden_size: int
    num_layers: int
    num_heads: int
    head_dim: int
    intermediate_size: int
    """Inner width of one expert, or of the dense feed-forward."""
    num_experts: int
    """0: a dense feed-forward."""
    experts_per_token: int = 2
    num_kv_heads: int | None = None
    """None: as many as query heads."""
    softmax_every: int = 8
    """Every so-many-th layer is softmax attention, the others lightning."""
    rotary_dim: int | None = None
    """None: half of each head."""
    rope_base: float = 10_000.0
    max_context: int | None = None
    """Tokens that the model is meant for; None: the longest sequence that it was trained on."""
    shared_intermediate_size: int = 0
    postnorm: bool = True
    alpha: float | None = None
    """Factor of the residual; None: (2 * num_layers) ** 0.25, and 1 without postnorm."""
    beta: float = 1.0
    tied_embeddings: bool = False
    vocab_size: int | None = None
    """Rows of the embedding; None: the tokenizer's size. More rows are padding."""
    router_aux_loss_coef: float = 0.001
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        for name in (
            "hidden_size", "num_layers", "num_heads", "head_dim", "intermediate_size", "softmax_every",
            "num_kv_heads", "max_context", "vocab_size",
        ):  # fmt: skip
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1")
        for name in ("num_experts", "shared_intermediate_size", "router_aux_loss_coef", "initializer_range"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not self.rope_base > 0:
            raise ValueError(f"rope_base is {self.rope_base}; it must be positive")

    def config(self, tokenizer: Tokenizer, *, length: int) -> ModelConfig:
        """The model's config, for a tokenizer and sequences of `length` tokens to begin with."""
        vocab_size = self.vocab_size or tokenizer.vocab_size
        if vocab_size < tokenizer.vocab_size:
            raise ValueError(f"vocab_size is {vocab_size}, but the tokenizer has {tokenizer.vocab_size} tokens")
        default_alpha = (2 * self.num_layers) ** 0.25 if self.postnorm else 1.0
        residual = ResidualScale(alpha=default_alpha if self.alpha is None else self.alpha, beta=self.beta)
        kind: Literal["experts", "dense"] = "experts" if self.num_experts else "dense"
        return ModelConfig(
            vocab_size=vocab_size,
            num_live_tokens=tokenizer.vocab_size if vocab_size > tokenizer.vocab_size else None,
            hidden_size=self.hidden_size,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads or self.num_heads,
            head_dim=self.head_dim,
            layers=hybrid_layers(self.num_layers, softmax_every=self.softmax_every, feed_forward=kind),
            intermediate_size=self.intermediate_size,
            num_experts=self.num_experts,
            experts_per_token=self.experts_per_token if self.num_experts else 0,
            shared_intermediate_size=self.shared_intermediate_size,
            postnorm=self.postnorm,
            lightning_residual=residual,
            softmax_residual=residual,
            feed_forward_residual=residual,
            rotary_dim=self.head_dim // 4 * 2 if self.rotary_dim is None else self.rotary_dim,
            rope_base=self.rope_base,
            max_context=self.max_context or length,
            tied_embeddings=self.tied_embeddings,
            eos_token_ids=tokenizer.eos_token_ids,
            router_aux_loss_coef=self.router_aux_loss_coef,
            initializer_range=self.initializer_range,
        )


@dataclass(frozen=True, kw_only=True)
class ExistingModel:
    """A checkpoint to go on from.

    Example: `ExistingModel(from_=Path("runs/tiny/pretrain"))`, in the file `from = "runs/tiny/pretrain"`.
    """

    from_: Path
    """A checkpoint folder; where there is none, its last part may be the name of a known model."""

    @property
    def folder(self) -> Path:
        """The checkpoint folder; ValueError says what to do when there is none."""
        if self.from_.exists():
            return catalog.resolve(self.from_)
        try:
            return catalog.resolve(self.from_.name)
        except ValueError as error:
            raise ValueError(f"model.from: there is no {self.from_}, and as a name: {error}") from error


@dataclass(frozen=True, kw_only=True)
class RunTable:
    """What a run is called, where it lies, and the seed of its weights and data.

    Example: `RunTable(name="tiny", folder=Path("runs/tiny"))`.
    """

    name: str
    folder: Path
    """Gets checkpoints, metrics, and a folder of weights for each stage."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TokenizerTable:
    """The folder with the tokenizer's files, for a new model.

    Example: `TokenizerTable(folder=Path("tokenizer"))`.
    """

    folder: Path


@dataclass(frozen=True, kw_only=True)
class RunConfiguration:
    """All of a run's file.

    Example: `read_configuration(Path("tiny.toml"), data_kind="text").stage[0].data[0].path`.
    """

    run: RunTable
    model: NewModel | ExistingModel
    stage: tuple[StageTable, ...]
    tokenizer: TokenizerTable | None = None
    """None: that of the model to go on from."""
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)

    def __post_init__(self) -> None:
        if not self.stage:
            raise ValueError("stage is empty: a run needs at least one")
        require_distinct_names(self.stage)
        if self.tokenizer is None and isinstance(self.model, NewModel):
            raise ValueError("a new model needs a tokenizer: name its folder in [tokenizer]")

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer and the chat template are."""
        if self.tokenizer is not None:
            return self.tokenizer.folder
        assert isinstance(self.model, ExistingModel)
        return self.model.folder

    def start(self, tokenizer: Tokenizer) -> ModelConfig | Path:
        """What the run begins from: the config of a new model, or a checkpoint folder.

        Raises:
            ValueError: the model can't be made as it is described, or has too few tokens for the tokenizer.
        """
        if isinstance(self.model, NewModel):
            return self.model.config(tokenizer, length=self.stage[0].length)
        folder = self.model.folder
        if self.tokenizer is not None:
            rows = read_config_file(folder / "config.json").vocab_size
            if tokenizer.vocab_size > rows:
                raise ValueError(
                    f"the tokenizer of {self.tokenizer.folder} has {tokenizer.vocab_size} tokens, and the model of "
                    f"{folder} knows {rows}: leave [tokenizer] out to take the model's own"
                )
        return folder


def read_configuration(path: Path, *, data_kind: Literal["text", "chat"], base: Path | None = None) -> RunConfiguration:
    """Read the TOML file of a run.

    Args:
        path: the file.
        data_kind: the kind of `[[stage.data]]` where it says none: `text` to pretrain, `chat` to fine-tune.
        base: the folder that relative paths start from; None: the folder of the file.

    Raises:
        ValueError: the file is no TOML, or not a run's; the message names the table and the key.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: give the TOML file of a run")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    for entry in data_tables(document).values():
        if "tasks" not in entry:  # else the complaint is that the kind is missing
            entry.setdefault("kind", data_kind)
    try:
        return read_table(RunConfiguration, document, "", base=path.parent if base is None else base)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def data_tables(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The `[[stage.data]]` tables of a document by their places; `read_table` complains if its shape is another."""
    stages, found = document.get("stage"), {}
    for i, stage in enumerate(stages if isinstance(stages, list) else ()):
        entries = stage.get("data") if isinstance(stage, dict) else None
        for j, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, dict):
                found[f"stage[{i}].data[{j}]"] = entry
    return found
