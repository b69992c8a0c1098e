"""Each command as a user calls it, on a tiny checkpoint."""

import json

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import fulmen
from fulmen.catalog import MODELS, folder_of
from fulmen.cli import main
from fulmen.cli.app import app

COMMANDS = ("chat", "complete", "agent", "serve", "pull", "models", "convert", "context", "bench", "eval")
NO_INT8 = ("--quantize", "none")


def run(*arguments, stdin=""):
    """Run a command that must succeed, and return what it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(*arguments):
    """Run a command that must be refused, and return the reason."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, ValueError), result.output
    return str(result.exception)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    assert command in run("--help")
    assert len(run(command, "--help").splitlines()) > 5


def test_version():
    assert run("--version") == f"fulmen {fulmen.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["chat", "smollm"], 2, "Known models: spark, smollm2-135m, minimax-m1-40k"),
        (["pull", "smollm2-135"], 2, "Did you mean smollm2-135m?"),
        (["serve", "minimax-m1-80k"], 2, "too large"),
        (["context", "show", "/nowhere/x"], 1, "/nowhere/x"),
        (["complete", ""], 2, "empty"),
        (["complete", "Hi", "--model", "TINY", "--device", "cudax"], 2, "--device cudax can't be used"),
        (["complete", "Hi", "--model", "TINY", "--device", "meta"], 2, "--device meta can't be used"),
        (["context", "save", "DOCUMENT", "/nowhere/x", "--model", "TINY"], 2, "there is no folder /nowhere"),
        (["context", "save", "EMPTY", "x", "--model", "TINY"], 2, "empty"),
        pytest.param(
            ["chat", "TINY", "--device", "cuda"],
            2,
            "--device cuda can't be used",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="here it can"),
        ),
    ],
)
def test_errors_are_one_line_without_a_traceback(monkeypatch, capsys, checkpoint, tmp_path, arguments, code, reason):
    places = {"TINY": checkpoint, "DOCUMENT": tmp_path / "document.txt", "EMPTY": tmp_path / "empty.txt"}
    places["DOCUMENT"].write_text("A text.")
    places["EMPTY"].write_text("\n")
    monkeypatch.setattr("sys.argv", ["fulmen", *(str(places.get(argument, argument)) for argument in arguments)])
    with pytest.raises(SystemExit) as exit:
        main()
    lines = capsys.readouterr().err.splitlines()
    assert exit.value.code == code
    assert reason in lines[-1]
    assert lines[-1].startswith("fulmen: ")
    assert not any("Traceback" in line for line in lines)


def test_corrupted_checkpoint_names_the_file(checkpoint, tmp_path):
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    assert weights.name in refusal("complete", "Hi", "--model", tmp_path)


def test_models_lists_all_names():
    output = run("models")
    for name, model in MODELS.items():  # a pipe gets each on a line of its own, uncut
        assert any(line.startswith(name) and line.rstrip().endswith(model.source) for line in output.splitlines())


def test_piped_chat_answers_each_line_in_one_conversation(checkpoint):
    ask = ("chat", checkpoint, "--max-tokens", 12)
    output = run(*ask, stdin="Hello\n\nAnd then?\n")
    assert len(output.splitlines()) == 2
    assert output == run(*ask, stdin="Hello\nAnd then?\n")
    assert output.splitlines()[0] == run(*ask, stdin="Hello").strip("\n")


def test_piped_chat_says_on_stderr_that_a_reply_was_cut(checkpoint):
    result = CliRunner().invoke(app, ["chat", str(checkpoint), "--max-tokens", "12"], input="Hello")
    assert result.stderr == "fulmen: Cut after 12 tokens; --max-tokens sets the limit.\n"
    assert "Cut" not in result.stdout


def test_chat_that_is_too_long_says_both_numbers(checkpoint):
    with pytest.raises(ValueError, match=r"3,\d{3} tokens; the context is 2,000"):
        CliRunner().invoke(app, ["chat", str(checkpoint)], input="x" * 3000, catch_exceptions=False)


def test_seed_repeats_a_completion(checkpoint):
    ask = ("complete", "Once", "--model", checkpoint, "--max-tokens", 20, "--temperature", 2, "--seed")
    assert run(*ask, 1) == run(*ask, 1) != run(*ask, 2)
    assert len(run(*ask, 1).rstrip("\n")) <= 20


def test_completion_of_standard_input(checkpoint):
    ask = ("--model", checkpoint, "--max-tokens", 8, "--temperature", 0)
    assert run("complete", *ask, stdin="Once") == run("complete", "Once", *ask)


def test_convert_to_another_family_and_back(checkpoint, tmp_path):
    for source, target, family in ((checkpoint, "a", "minimax"), (tmp_path / "a", "b", "minimax_m1")):
        run("convert", source, tmp_path / target, "--to", family, "--shard-gib", 0.001)
    tokens = torch.arange(40)
    assert torch.equal(fulmen.load(tmp_path / "b").logits(tokens), fulmen.load(checkpoint).logits(tokens))
    assert (tmp_path / "b" / "tokenizer.json").read_bytes() == (checkpoint / "tokenizer.json").read_bytes()
    assert json.loads((tmp_path / "a" / "config.json").read_text())["model_type"] == "minimax"


def test_convert_to_half_precision(checkpoint, tmp_path):
    run("convert", checkpoint, tmp_path / "half", "--dtype", "bfloat16")
    whole, half = (
        sum(file.stat().st_size for file in folder.glob("*.safetensors")) for folder in (checkpoint, tmp_path / "half")
    )
    assert half < 0.6 * whole


def test_convert_refuses_what_it_would_destroy_or_can_not_express(checkpoint, tmp_path):
    assert "is there already" in refusal("convert", checkpoint, tmp_path)
    assert "llama" in refusal("convert", checkpoint, tmp_path / "new", "--to", "llama")
    assert not (tmp_path / "new").exists()
    save_file({"x": torch.zeros(1)}, tmp_path / "x.gguf")
    assert "x.gguf" in refusal("convert", tmp_path / "x.gguf", tmp_path / "new")


def test_reopened_context_answers_like_a_chat_about_the_document(checkpoint, tmp_path):
    document = tmp_path / "document.txt"
    document.write_text("The code is 4711. " * 20)
    saved = run("context", "save", document, tmp_path / "file", "--model", checkpoint, *NO_INT8)
    assert "tokens" in saved
    assert "The code is 4711." in run("context", "show", tmp_path / "file")
    plain = run("chat", checkpoint, *NO_INT8, "--max-tokens", 10, "--system", document.read_text(), stdin="Which?")
    ask = (checkpoint, *NO_INT8, "--max-tokens", 10)
    assert run("chat", *ask, "--context", tmp_path / "file", stdin="Which?") == plain


def test_context_of_another_precision_is_refused(checkpoint, tmp_path):
    (tmp_path / "document.txt").write_text("A text.")
    run("context", "save", tmp_path / "document.txt", tmp_path / "file", "--model", checkpoint, *NO_INT8)
    refused = refusal("chat", checkpoint, "--quantize", "int8", "--context", tmp_path / "file")
    assert "saved from weights in float32, and these are in int8" in refused


def test_bench_prints_figures(checkpoint):
    ask = ("bench", checkpoint, "--prompt", 64, "--batch", 2, "--steps", 3)
    figures = json.loads(run(*ask, "--json"))
    assert figures["prefill_tokens_per_second"]["64"] > 0
    assert figures["decode_tokens_per_second"]["2"] > 0
    assert "decode of 2 side by side" in run(*ask)


@pytest.mark.smollm2
@pytest.mark.skipif(not (folder_of("smollm2-135m") / "config.json").is_file(), reason="`make test` pulls the model")
def test_the_capital_of_france():
    output = run("chat", "smollm2-135m", stdin="What is the capital of France?\n")
    assert output == "The capital of France is Paris.\n"
