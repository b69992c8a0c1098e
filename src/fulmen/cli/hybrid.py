"""The work of `fulmen convert --hybrid`: a dense Llama becomes a hybrid, and learns from its former self to be one."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from fulmen.cli.train import warnings_in_one_line

if TYPE_CHECKING:
    from fulmen.config import ModelConfig
    from fulmen.model.decoder import Decoder
    from fulmen.train.distillation_run import DistillationSettings
    from fulmen.train.plain_text import PlainText

OnBrokenOption = Annotated[
    Literal["stop", "skip"] | None,
    typer.Option(help="Hybrid: what becomes of lines and files of --data that can't be read. Default: stop."),
]
_LENGTH, _HELD_OUT = 512, 4  # tokens of a sequence, and sequences that only perplexity sees


@dataclass(frozen=True, kw_only=True)
class HybridOptions:
    """What the command line says about a hybrid, checked; None is what it doesn't say.

    Example: M1's proportions of layers and two of four experts: `HybridOptions(experts=4, experts_per_token=2)`.
    """

    softmax_every: int | None = None
    keep_softmax: str | None = None
    """Layers joined by commas."""
    experts: int | None = None
    experts_per_token: int | None = None
    minutes: float | None = None
    tokens: int | None = None
    data: Path | None = None
    on_broken: Literal["stop", "skip"] | None = None

    def __post_init__(self) -> None:
        for one, other in (("softmax_every", "keep_softmax"), ("minutes", "tokens")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                names = [f"--{name.replace('_', '-')}" for name in (one, other)]
                raise ValueError(f"{names[0]} and {names[1]} say the same thing in two ways: give one of them")
        if self.experts_per_token is not None and self.experts is None:
            raise ValueError("--experts-per-token says how many of the experts a token passes: give --experts too")
        if self.on_broken is not None and self.data is None:
            raise ValueError("--on-broken says what to do about broken lines of your own files: give --data too")
        self.kept_layers()

    def given(self) -> list[str]:
        """The options that were given, as they are typed."""
        return [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None]

    def kept_layers(self) -> tuple[int, ...] | None:
        """The layers of --keep-softmax."""
        if self.keep_softmax is None:
            return None
        try:
            return tuple(int(layer) for layer in self.keep_softmax.split(","))
        except ValueError:
            raise ValueError(f"--keep-softmax is {self.keep_softmax!r}; expected layers like 3,11,19") from None


def convert_to_hybrid(source: Path, target: Path, options: HybridOptions) -> None:
    """Write the hybrid of a dense model to a new folder; what was cut off continues from `TARGET.run`."""
    from fulmen.chat.tokenizer import Tokenizer, copy_tokenizer
    from fulmen.config_formats import read_config_file
    from fulmen.model.weights import load_checkpoint, save_checkpoint
    from fulmen.train.distillation_run import DistillationSettings
    from fulmen.train.hybridize import hybrid_config
    from fulmen.train.plain_text import PlainText, python_documentation, read_documents
    from fulmen.train.run_folder import METRICS, claimed

    config = hybrid_config(  # refuses before anything is read
        read_config_file(source / "config.json"),
        softmax_every=8 if options.softmax_every is None else options.softmax_every,
        keep_softmax=options.kept_layers(),
        num_experts=options.experts or 0,
        experts_per_token=options.experts_per_token or min(2, options.experts or 0),
    )
    minutes = None if options.tokens is not None else 30.0 if options.minutes is None else options.minutes
    settings = DistillationSettings(
        minutes=minutes, tokens=options.tokens, trainable="all" if config.num_experts else "attention"
    )
    with Console(stderr=True).status("Reading model and text"), warnings_in_one_line(shown=True):
        documents = (
            read_documents(options.data, on_broken=options.on_broken or "stop")
            if options.data
            else python_documentation()
        )
        length = min(_LENGTH, config.max_context)
        text = PlainText.encode(documents, Tokenizer.load(source), length=length, held_out=_HELD_OUT, seed=0)
        teacher = load_checkpoint(source)
    run = target.with_name(f"{target.name}.run")
    with claimed(run):
        student = _distilled(teacher, config, text, settings, run)
        save_checkpoint(student, target, family="minimax_m1")
        copy_tokenizer(source, target)
        shutil.copy2(run / METRICS, target / "distillation.jsonl")
        shutil.rmtree(run)


def _distilled(
    teacher: "Decoder", config: "ModelConfig", text: "PlainText", settings: "DistillationSettings", run: Path
) -> "Decoder":
    """The student after its training."""
    from fulmen.runlog import progress, read_metrics
    from fulmen.train.calibration import calibrate
    from fulmen.train.distillation_run import Distillation
    from fulmen.train.hybridize import student_from
    from fulmen.train.run_folder import METRICS

    student = student_from(teacher, config)
    calibrate(teacher, student, text.batch(0, 1)[0])
    total = settings.tokens or round((settings.minutes or 0) * 60)
    with progress("distillation", total) as display:
        Distillation(
            teacher, student, text, settings, run, report=lambda done, words: display.show(round(done * total), words)
        ).run()
    measured = [line for line in read_metrics(run / METRICS) if "perplexity" in line]
    print(
        f"perplexity of held-out text: {measured[0]['perplexity']:,.1f} at the start, "
        f"{measured[-1]['perplexity']:,.1f} now, {measured[0]['teacher_perplexity']:,.1f} of the teacher",
        file=sys.stderr,
    )
    return student
