import importlib.util
import json
import xml.etree.ElementTree as ElementTree

import pytest

from fulmen.train.report import smooth, write_report


def write_metrics(folder, stages=(("pretrain", 30), ("sft<1>", 1)), **facts):
    folder.mkdir(exist_ok=True)
    step = 0
    with (folder / "metrics.jsonl").open("w") as file:
        for name, steps in stages:
            for i in range(steps):
                step += 1
                line = {
                    "step": step, "stage": name, "tokens": 1001 * (i + 1), "trained_fraction": 0.25,
                    "loss": 4.0 - i / 10, "aux_loss": 2.0, "imbalance": 1.2, "grad_norm": 0.5 + i / 9,
                    "learning_rate": 1e-3, "tokens_per_second": 4000.0, "seconds": 130.0,
                }  # fmt: skip
                file.write(json.dumps(line | facts) + "\n")
    return folder


def test_a_page_that_needs_nothing_else_and_a_picture(tmp_path):
    folder = write_metrics(tmp_path / "tiny")
    (folder / "events.log").write_text("2026-01-01 guard: back to step 4 & slower\n")
    page, picture = write_report(folder)
    assert (page, picture) == (folder / "report.html", folder / "report.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert "31 steps, 31K tokens, 1 h 7 min" in text
    assert "<td>pretrain</td><td>30</td><td>30K</td><td>25%</td><td>4.000</td>" in text
    assert "<td>sft&lt;1&gt;</td><td>1</td><td>1K</td>" in text
    assert "back to step 4 &amp; slower" in text
    assert "src=" not in text
    svg = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    assert len(svg.findall(".//*[@id]")) > 20


def test_dense_models_have_no_imbalance_and_long_runs_no_large_pages(tmp_path):
    page, _ = write_report(write_metrics(tmp_path / "run", stages=[("long", 20_000)], imbalance=0.0, aux_loss=0.0))
    assert page.stat().st_size < 500_000
    assert "busiest expert" not in page.read_text()


def test_smoothing_has_no_bias():
    assert smooth([3.0] * 400) == pytest.approx([3.0] * 400)
    assert smooth([5.0]) == [5.0]
    step = smooth([0.0] * 500 + [1.0] * 500)
    assert step[500 + 9] == pytest.approx(0.5, abs=0.01)  # a hundredth of the curve later
    assert step[-1] == pytest.approx(1.0)


def test_metrics_of_something_else_are_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "stage": "attention", "perplexity": 3.0}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl is not that of a training run: its lines lack some of stage"):
        write_report(tmp_path)


def test_folders_without_metrics_and_machines_without_matplotlib(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"has no metrics\.jsonl with a step in it"):
        write_report(tmp_path)
    folder = write_metrics(tmp_path / "run")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"pip install -c constraints.txt -e '\.\[train\]'"):
        write_report(folder)
