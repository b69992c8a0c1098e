"""The report of a run: its curves and its table, as one HTML file that needs nothing else and as a picture.

All is drawn from `metrics.jsonl`, so a report can be made while the run goes on. Curves are drawn over the tokens read
since the run began, a colour for each stage; the loss is shown as it was measured, pale, and smoothed.
"""

import html
import importlib.util
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fulmen.runlog import read_metrics
from fulmen.train.run_folder import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#2f6db5", "#d1702f", "#3c8d4f", "#8c5aa8", "#b23a48", "#5b7083")
_SMALL_PANELS = (  # key, title, and where the axis begins: the norm's is logarithmic and begins with the curve
    ("learning_rate", "learning rate", 0.0),
    ("grad_norm", "gradient norm", None),
    ("tokens_per_second", "tokens per second", 0.0),
    ("imbalance", "tokens of the busiest expert over an even share", 1.0),
)
_SHOWN = ("stage", "tokens", "loss", "trained_fraction", "seconds", "tokens_per_second")
_INK, _PALE = "#333a45", "#d5d9e0"
_STYLE: Any = {
    "font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left",
    "text.color": _INK, "xtick.color": _INK, "ytick.color": _INK, "axes.edgecolor": _PALE,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#eceef2", "axes.axisbelow": True,
    "figure.constrained_layout.use": True, "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.1, "svg.hashsalt": "fulmen",
}  # fmt: skip
_MAX_POINTS = 1500  # of one curve: more can't be seen, and make the file large
_HEADINGS = ("stage", "steps", "tokens", "trained", "loss at first", "loss at last", "tokens/s", "time")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #333a45; max-width: 1000px; margin: 2.5em auto; padding: 0 1em }}
h1 {{ font-size: 1.5em; margin: 0 }} p {{ margin: 0 0 1.2em; color: #6b7380 }} svg {{ width: 100%; height: auto }}
table {{ border-collapse: collapse; margin: 1em 0; width: 100%; font-variant-numeric: tabular-nums }}
th, td {{ text-align: right; padding: .35em .7em; border-bottom: 1px solid #eceef2 }}
th {{ font-weight: 600 }} th:first-child, td:first-child {{ text-align: left }} pre {{ white-space: pre-wrap }}
</style></head><body><h1>{title}</h1><p>{subtitle}</p>
{table}
{curves}
{events}</body></html>
"""


@dataclass(frozen=True, kw_only=True)
class StageCurve:
    """What a run logged of one stage.

    Example: `StageCurve(name="pretrain", offset=0, lines=read_metrics(path))`.
    """

    name: str
    offset: int
    """Tokens of the stages before."""
    lines: Sequence[Mapping[str, Any]]

    @property
    def tokens(self) -> list[float]:
        """Tokens read since the run began, at each step."""
        return [self.offset + line["tokens"] for line in self.lines]

    @property
    def losses(self) -> list[float]:
        """The smoothed loss."""
        return smooth([line["loss"] for line in self.lines])


def write_report(run_dir: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.png` into a run's folder; returns their paths.

    Raises:
        ValueError: the folder has no metrics, or not those of a training run.
        RuntimeError: matplotlib is not there.
    """
    lines = read_metrics(run_dir / METRICS)
    if not lines:
        raise ValueError(f"{run_dir} has no {METRICS} with a step in it: give the folder of a training run")
    if not all(key in line for line in lines for key in _SHOWN):
        raise ValueError(
            f"{run_dir / METRICS} is not that of a training run: its lines lack some of {', '.join(_SHOWN)}"
        )
    if not can_draw():
        raise RuntimeError(
            "reports are drawn by matplotlib: run pip install -c constraints.txt -e '.[train]' in Fulmen's folder"
        )
    import matplotlib as mpl

    curves = _stage_curves(lines)
    page, picture = run_dir / "report.html", run_dir / "report.png"
    name = run_dir.resolve().name
    with mpl.rc_context(_STYLE):
        figure = _draw(curves, name)
        figure.savefig(picture, dpi=150)
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
    events = run_dir / "events.log"
    notes = f"<h2>Events</h2><pre>{html.escape(events.read_text(encoding='utf-8'))}</pre>" if events.is_file() else ""
    total = sum(line["seconds"] for line in lines)
    page.write_text(
        _PAGE.format(
            title=html.escape(name),
            subtitle=f"{lines[-1]['step']:,} steps, {_amount(curves[-1].tokens[-1])} tokens, {_duration(total)}",
            table=_table(curves),
            curves=svg.getvalue()[svg.getvalue().index("<svg") :],
            events=notes,
        ),
        encoding="utf-8",
    )
    return page, picture


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_loss(lines: Sequence[Mapping[str, Any]], picture: Path) -> None:
    """Draw the loss alone over the lines of a run's metrics, as a PNG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4))
        _draw_loss(figure.subplots(), _stage_curves(lines))
        figure.savefig(picture, dpi=120)


def smooth(values: Sequence[float]) -> list[float]:
    """A running mean in which a value of a hundredth of the curve ago counts half; unbiased from the first value on."""
    decay = 0.5 ** (100 / max(100, len(values)))
    mean = weight = 0.0
    smoothed = []
    for value in values:
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        smoothed.append(mean / weight)
    return smoothed


def _stage_curves(lines: Sequence[Mapping[str, Any]]) -> list[StageCurve]:
    curves: list[StageCurve] = []
    for name, group in groupby(lines, key=lambda line: str(line["stage"])):
        offset = int(curves[-1].tokens[-1]) if curves else 0
        curves.append(StageCurve(name=name, offset=offset, lines=list(group)))
    return curves


def _draw(curves: Sequence[StageCurve], title: str) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(9.5, 8.2))
    figure.suptitle(title, x=0.02, ha="left", fontsize=13, fontweight="bold")
    grid = figure.add_gridspec(3, 2, height_ratios=(1.7, 1, 1))
    loss = figure.add_subplot(grid[0, :])
    _draw_loss(loss, curves)
    panels = [panel for panel in _SMALL_PANELS if any(line.get(panel[0]) for c in curves for line in c.lines)]
    for index, (key, name, bottom) in enumerate(panels):
        axes = figure.add_subplot(grid[1 + index // 2, index % 2], sharex=loss)
        for curve, colour in _coloured(curves):
            _plot(axes, curve.tokens, [line.get(key) for line in curve.lines], color=colour, linewidth=1)
        axes.set_title(name)
        if bottom is None:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            highest = max(line.get(key) or 0.0 for curve in curves for line in curve.lines)
            axes.set_ylim(bottom, bottom + 1.08 * (highest - bottom) if highest > bottom else bottom + 1.0)
        _finish(axes, curves)
    return figure


def _draw_loss(axes: "Axes", curves: Sequence[StageCurve]) -> None:
    for curve, colour in _coloured(curves):
        _plot(axes, curve.tokens, [line["loss"] for line in curve.lines], color=colour, linewidth=0.7, alpha=0.3)
        label = f"{curve.name}: {curve.losses[-1]:.3f}"
        _plot(axes, curve.tokens, curve.losses, color=colour, linewidth=1.8, label=label)
    axes.set_title("loss per trained token, nats, over tokens read")
    axes.legend(frameon=False, loc="upper right")
    # The first steps from random weights would press all the rest to the ground.
    settled = [loss for curve in curves for loss in curve.losses[len(curve.losses) // 20 :]]
    lowest, highest = min(settled), max(settled)
    margin = 0.08 * (highest - lowest) or 0.1
    axes.set_ylim(max(0.0, lowest - margin), highest + 2 * margin)
    _finish(axes, curves)


def _plot(axes: "Axes", tokens: Sequence[float], values: Sequence[float | None], **style: Any) -> None:
    """A curve, every so-many-th point of a long one and always the last; a lone point is a dot."""
    chosen = sorted({*range(0, len(tokens), -(-len(tokens) // _MAX_POINTS)), len(tokens) - 1})
    marker = "o" if len(tokens) == 1 else None
    shown = [float("nan") if values[i] is None else float(values[i] or 0.0) for i in chosen]
    axes.plot([tokens[i] for i in chosen], shown, marker=marker, **style)


def _finish(axes: "Axes", curves: Sequence[StageCurve]) -> None:
    """Counts of tokens below, and a line where a stage begins."""
    from matplotlib.ticker import FuncFormatter

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _amount(value)))
    for curve in curves[1:]:
        axes.axvline(curve.offset, color=_PALE, linewidth=1, linestyle=(0, (4, 3)))


def _coloured(curves: Sequence[StageCurve]) -> list[tuple[StageCurve, str]]:
    return [(curve, _COLOURS[index % len(_COLOURS)]) for index, curve in enumerate(curves)]


def _table(curves: Sequence[StageCurve]) -> str:
    rows = []
    for curve in curves:
        trained = statistics.fmean(line["trained_fraction"] for line in curve.lines)
        cells = (
            html.escape(curve.name),
            f"{len(curve.lines):,}",
            _amount(curve.lines[-1]["tokens"]),
            f"{trained:.0%}",
            f"{curve.lines[0]['loss']:.3f}",
            f"{curve.losses[-1]:.3f}",
            f"{statistics.median(line['tokens_per_second'] for line in curve.lines):,.0f}",
            _duration(sum(line["seconds"] for line in curve.lines)),
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "<tr>" + "".join(f"<th>{heading}</th>" for heading in _HEADINGS) + "</tr>"
    return "\n".join(["<table>", head, *rows, "</table>"])


def _amount(tokens: float) -> str:
    """`12.5M` for 12,500,000."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(tokens) >= size:
            return f"{tokens / size:.3g}{letter}"
    return f"{tokens:.3g}"


def _duration(seconds: float) -> str:
    """`2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
