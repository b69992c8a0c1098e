"""`fulmen train` as a user calls it: a tiny run from its TOML file to a checkpoint and a report."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from fulmen.cli.app import app
from fulmen.config_formats import read_config_file
from fulmen.runlog import read_metrics

MODEL = """
[model]
hidden_size = 32
num_layers = 2
softmax_every = 2
num_heads = 2
head_dim = 16
intermediate_size = 32
num_experts = 2
experts_per_token = 1
"""
RUN = """
[run]
name = "tiny"
folder = "runs/tiny"
{model}
[tokenizer]
folder = "tokenizer"

[[stage]]
name = "first"
length = 61
tokens = 1500
tokens_per_step = 256
tokens_per_micro_batch = 128
optimizer = {{ learning_rate = 1e-3 }}
[[stage.data]]
path = "{data}"
{options}
"""


@pytest.fixture
def folder(tmp_path, checkpoint, monkeypatch):
    """Data, a tokenizer, and the TOML files of two runs."""
    monkeypatch.setenv("FULMEN_HOME", str(tmp_path / "home"))
    (tmp_path / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "tokenizer" / name).write_bytes((checkpoint / name).read_bytes())
    texts = [{"text": f"The number after {i} is {i + 1}. " * (i % 3 + 1)} for i in range(40)]
    chats = [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "ok"}]} for i in range(10)
    ]
    for name, lines in {"texts": texts, "chats": [*chats, {"message": 1}]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "text.toml").write_text(RUN.format(model=MODEL, data="texts.jsonl", options=""))
    existing = '[model]\nfrom = "runs/tiny/first"\n'
    chat = RUN.format(model=existing, data="chats.jsonl", options='on_broken = "skip"')
    (tmp_path / "chat.toml").write_text(chat.replace("runs/tiny", "runs/chat", 1).replace("length = 61", "length = 99"))
    return tmp_path


def run(*arguments):
    """Run a command that must succeed, and return its output and what it said on the way."""
    result = CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_pretraining_then_fine_tuning(folder):
    out, said = run("pretrain", folder / "text.toml")
    assert out == f"{folder / 'runs/tiny/first'}\n"
    assert f"tiny: first, 1,500 tokens; begins in {folder / 'runs/tiny'}" in said
    lines = read_metrics(folder / "runs/tiny/metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 7))
    assert all(line["trained_fraction"] > 0.9 for line in lines)
    assert read_config_file(folder / "runs/tiny/first/config.json").max_context == 61
    assert (folder / "runs/tiny/first/tokenizer.json").is_file()
    assert (folder / "runs/tiny/report.html").is_file()

    out, said = run("sft", folder / "chat.toml")
    assert out == f"{folder / 'runs/chat/first'}\n"
    assert "warning: " in said
    assert "left out 1 broken lines or files" in said
    assert "chats.jsonl, line 11: messages must be a non-empty list" in said
    lines = read_metrics(folder / "runs/chat/metrics.jsonl")
    assert all(line["trained_fraction"] < 0.2 for line in lines)
    assert read_config_file(folder / "runs/chat/first/config.json").max_context == 99


def test_a_run_goes_on_unless_told_to_begin_anew(folder):
    run("pretrain", folder / "text.toml")
    weights = (folder / "runs/tiny/first/model.safetensors").read_bytes()
    _, said = run("pretrain", folder / "text.toml")
    assert "goes on from" in said
    assert "step-00000006 (--fresh begins anew)" in said
    _, said = run("pretrain", folder / "text.toml", "--fresh")
    assert f"the earlier run is kept in {folder / 'runs/tiny.1'}" in said
    assert "begins in" in said
    for name in ("tiny", "tiny.1"):  # the same file and seed: the same weights
        assert (folder / f"runs/{name}/first/model.safetensors").read_bytes() == weights


def test_of_an_interrupted_run_what_comes_later_may_change_and_the_data_at_hand_may_not(folder):
    run("pretrain", folder / "text.toml")
    first = (folder / "text.toml").read_text()
    second = first[first.index("[[stage]]") :].replace("first", "second")
    (folder / "text.toml").write_text(first.replace("[[stage.data]]", "[[stage.data]]\nweight = 2.0") + second)
    result = CliRunner().invoke(app, ["train", "pretrain", str(folder / "text.toml")])
    assert isinstance(result.exception, ValueError)
    assert "stage first, data[0]" in str(result.exception)
    assert "weight was 1.0 in the checkpoint and is 2.0 now" in str(result.exception)
    (folder / "text.toml").write_text(first + second)
    run("pretrain", folder / "text.toml")
    assert len(read_metrics(folder / "runs/tiny/metrics.jsonl")) == 12


def test_the_report_of_a_folder(folder):
    run("pretrain", folder / "text.toml")
    out, _ = run("report", folder / "runs/tiny")
    assert out.splitlines() == [str(folder / "runs/tiny" / name) for name in ("report.html", "report.png")]


@pytest.mark.parametrize("command", ["pretrain", "sft", "report"])
def test_every_command_explains_itself(command):
    out, _ = run(command, "--help")
    assert len(out.splitlines()) > 5
    assert command in run("--help")[0]


def test_bad_input_is_named_before_anything_is_trained(folder):
    for command, complaint in [("pretrain", "line 1: text is missing"), ("sft", "line 11: messages must be")]:
        text = (folder / "text.toml").read_text().replace("texts.jsonl", "chats.jsonl")
        (folder / "bad.toml").write_text(text)
        result = CliRunner().invoke(app, ["train", command, str(folder / "bad.toml")])
        assert isinstance(result.exception, ValueError)
        assert complaint in str(result.exception)
    assert not (folder / "runs").exists()


def test_without_reasoning_gym_a_recipe_that_needs_it_fetches_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ValueError, match="gym_.* needs the package reasoning-gym"):
        run("recipe", "spark", "--folder", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_processes_under_torchrun_and_only_the_first_speaks(folder):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fulmen"]
    result = subprocess.run(
        [*launch, "train", "pretrain", str(folder / "text.toml")],
        capture_output=True, text=True, check=False, timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{folder / 'runs/tiny/first'}\n"
    assert result.stderr.count("tiny: first") == 1
    assert len(read_metrics(folder / "runs/tiny/metrics.jsonl")) == 6
