"""`fulmen convert --hybrid`: from a dense folder to a hybrid one that chats, with options that explain themselves."""

import json
import shutil

import pytest
from typer.testing import CliRunner

import fulmen
from fulmen.cli.app import app
from fulmen.config import hybrid_layers
from fulmen.config_formats import read_config_file
from fulmen.model.decoder import Decoder
from fulmen.model.weights import save_checkpoint


@pytest.fixture(scope="module")
def dense(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense") / "llama"
    config = read_config_file(checkpoint / "config.json").replace(
        layers=hybrid_layers(4, softmax_every=1, feed_forward="dense"), num_experts=0, experts_per_token=0,
        postnorm=False, max_context=64, tied_embeddings=True,
    )  # fmt: skip
    save_checkpoint(Decoder(config).requires_grad_(False).initialize(seed=0), folder, family="llama")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy2(checkpoint / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "text.txt"
    file.write_text("The quick brown fox jumps over the lazy dog. " * 60)
    return file


def invoke(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "softmax", "experts"),
    [
        (("--softmax-every", 2), (1, 3), 0),
        (("--keep-softmax", "0,3", "--experts", 3), (0, 3), 3),
    ],
)
def test_a_dense_folder_becomes_a_hybrid_that_answers(dense, data, tmp_path, options, softmax, experts) -> None:
    target = tmp_path / "hybrid"
    result = invoke(dense, target, "--hybrid", *options, "--tokens", 1500, "--data", data)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{target}\n"
    assert "perplexity of held-out text" in result.stderr
    config = fulmen.load(target).config
    assert config.softmax_layers == softmax
    assert (config.num_experts, config.experts_per_token) == (experts, 2 if experts else 0)
    assert (target / "tokenizer.json").read_bytes() == (dense / "tokenizer.json").read_bytes()
    lines = [json.loads(line) for line in (target / "distillation.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"attention", "logits"}
    assert [path.name for path in tmp_path.iterdir()] == ["hybrid"], "the run's folder is gone"
    reply = CliRunner().invoke(app, ["chat", str(target), "--quantize", "none", "--max-tokens", "5"], input="Hi")
    assert reply.exit_code == 0, reply.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--minutes", 1), "--minutes is about a hybrid"),
        (("--hybrid", "--minutes", 1, "--tokens", 5), "--minutes and --tokens"),
        (("--hybrid", "--minutes", 0), "above 0"),
        (("--hybrid", "--softmax-every", 2, "--keep-softmax", "1"), "--softmax-every and --keep-softmax"),
        (("--hybrid", "--keep-softmax", "1;2"), "'1;2'; expected layers like"),
        (("--hybrid", "--keep-softmax", "4"), r"layers [4]; the model has layers 0..3"),
        (("--hybrid", "--experts", 2, "--experts-per-token", 3), "experts_per_token is 3"),
        (("--hybrid", "--experts-per-token", 2), "give --experts too"),
        (("--hybrid", "--to", "llama"), "the minimax_m1 layout"),
        (("--on-broken", "skip"), "give --data too"),
    ],
)
def test_bad_options_are_named_before_anything_is_written(dense, data, tmp_path, options, message) -> None:
    result = invoke(dense, tmp_path / "hybrid", *options, *(("--data", data) if "--hybrid" in options else ()))
    assert isinstance(result.exception, ValueError), result.output
    assert message in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_broken_lines_of_the_data_are_left_out_where_asked(dense, tmp_path) -> None:
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": "The quick brown fox. " * 60}) + '\n{"text"\n')
    arguments = (dense, tmp_path / "hybrid", "--hybrid", "--tokens", 200, "--data", tmp_path / "text.jsonl")
    assert "text.jsonl, line 2" in str(invoke(*arguments).exception)
    result = invoke(*arguments, "--on-broken", "skip")
    assert result.exit_code == 0, result.output
    assert "left out 1 broken lines or files" in result.stderr


def test_a_file_is_not_a_dense_folder(data, tmp_path) -> None:
    result = invoke(data, tmp_path / "hybrid", "--hybrid")
    assert f"{data} is a file: convert it to a folder first" in str(result.exception)


def test_a_hybrid_is_not_converted_again(checkpoint, tmp_path) -> None:
    result = invoke(checkpoint, tmp_path / "hybrid", "--hybrid")
    assert "this is a hybrid" in str(result.exception)
