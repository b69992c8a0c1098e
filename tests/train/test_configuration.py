import json
import tomllib
from pathlib import Path

import pytest

from fulmen.config_formats import write_config
from fulmen.train.configuration import ChatData, ExistingModel, NewModel, TaskData, TextData, read_configuration

RUN = """
[run]
name = "tiny"
folder = "runs/tiny"
seed = 3

[model]
hidden_size = 64
num_layers = 8
num_heads = 4
head_dim = 16
intermediate_size = 64
num_experts = 4

[tokenizer]
folder = "/tokens"

[checkpoint]
every_seconds = 60

[[stage]]
name = "pretrain"
length = 1021
tokens = 20_000_000
tokens_per_step = 32_768
tokens_per_micro_batch = 8192
optimizer = { learning_rate = 2e-3, betas = [0.9, 0.98] }

[[stage.data]]
path = "books.jsonl"
weight = 3

[[stage.data]]
kind = "tasks"
tasks = { addition = 2, subtraction = 0.5 }
train_on = "all"

[[stage]]
name = "long"
length = 4096
tokens = 1_000_000
tokens_per_step = 16_384
tokens_per_micro_batch = 16_384
rope_base = 1e6
[stage.optimizer]
learning_rate = 0.001
[stage.guard]
threshold = 8
[[stage.data]]
kind = "chat"
path = "/data/chats"
on_broken = "skip"
"""


def read(folder, text=RUN, **options):
    (folder / "run.toml").write_text(text)
    return read_configuration(folder / "run.toml", **{"data_kind": "text"} | options)


def test_a_whole_file(tmp_path, tokenizer):
    run = read(tmp_path)
    assert (run.run.name, run.run.folder, run.run.seed) == ("tiny", tmp_path / "runs/tiny", 3)
    assert run.tokenizer_folder == Path("/tokens")
    assert run.checkpoint.every_seconds == 60.0
    first, second = run.stage
    assert (first.name, first.length, first.optimizer.betas, first.guard) == ("pretrain", 1021, (0.9, 0.98), None)
    assert first.data == (
        TextData(path=tmp_path / "books.jsonl", weight=3.0),
        TaskData(tasks={"addition": 2.0, "subtraction": 0.5}, train_on="all"),
    )
    assert (second.rope_base, second.guard.threshold) == (1e6, 8.0)
    assert second.data == (ChatData(path=Path("/data/chats"), on_broken="skip"),)
    config = run.start(tokenizer)
    assert (config.vocab_size, config.num_live_tokens) == (tokenizer.vocab_size, None)
    assert (config.lightning_layers, config.softmax_layers) == (tuple(range(7)), (7,))
    assert config.postnorm
    assert config.softmax_residual.alpha == config.feed_forward_residual.alpha == 2.0  # (2 * 8) ** 0.25
    assert (config.rotary_dim, config.num_kv_heads, config.experts_per_token) == (8, 4, 2)
    assert (config.max_context, config.eos_token_ids) == (1021, tokenizer.eos_token_ids)


def test_the_command_says_what_data_is_and_the_caller_where_paths_begin(tmp_path):
    run = read(tmp_path, data_kind="chat", base=Path("/elsewhere"))
    assert run.stage[0].data[0] == ChatData(path=Path("/elsewhere/books.jsonl"), weight=3.0)
    assert run.run.folder == Path("/elsewhere/runs/tiny")


def test_a_run_may_go_on_from_a_checkpoint(tmp_path, tokenizer):
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "config.json").write_text("{}")
    begin = RUN.index("[model]")
    text = RUN[:begin] + '[model]\nfrom = "start"\n' + RUN[RUN.index("[checkpoint]") :]
    run = read(tmp_path, text)
    assert run.model == ExistingModel(from_=tmp_path / "start")
    assert run.start(tokenizer) == run.tokenizer_folder == tmp_path / "start"
    with pytest.raises(ValueError, match="no model is called 'smollm3'.*Known models"):
        _ = read(tmp_path, text.replace('"start"', '"smollm3"')).tokenizer_folder


def test_a_misspelt_from_is_told_from_a_new_model(tmp_path):
    text = RUN.replace(RUN[RUN.index("[model]") : RUN.index("[tokenizer]")], '[model]\nform = "spark"\n')
    with pytest.raises(ValueError, match="model has no key 'form': did you mean 'from'"):
        read(tmp_path, text)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path, tokenizer):
    text = RUN.replace(RUN[RUN.index("[model]") : RUN.index("[tokenizer]")], '[model]\nfrom = "start"\n')
    (tmp_path / "start").mkdir()
    small = read(tmp_path).model.config(tokenizer, length=1021).replace(vocab_size=300)
    (tmp_path / "start" / "config.json").write_text(json.dumps(write_config(small, "minimax_m1")))
    with pytest.raises(ValueError, match=f"tokenizer of /tokens has {tokenizer.vocab_size} tokens, and .* knows 300"):
        read(tmp_path, text).start(tokenizer)


def test_padding_of_the_vocabulary_and_dense_models(tokenizer):
    model = NewModel(
        hidden_size=64, num_layers=2, num_heads=4, head_dim=16, intermediate_size=64, num_experts=0, vocab_size=384
    )
    config = model.config(tokenizer, length=100)
    assert (config.vocab_size, config.num_live_tokens) == (384, tokenizer.vocab_size)
    assert {layer.feed_forward for layer in config.layers} == {"dense"}
    small = NewModel(
        hidden_size=64, num_layers=2, num_heads=4, head_dim=16, intermediate_size=64, num_experts=0, vocab_size=300
    )
    with pytest.raises(ValueError, match=f"vocab_size is 300, but the tokenizer has {tokenizer.vocab_size} tokens"):
        small.config(tokenizer, length=100)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("seed = 3", "sed = 3", r"run has no key 'sed': did you mean 'seed'"),
        ("hidden_size", "hiden_size", r"model has no key 'hiden_size': did you mean 'hidden_size'"),
        ("betas", "beta", r"stage\[0\]\.optimizer has no key 'beta': did you mean 'betas'"),
        ("rope_base", "data_dir", r"stage\[1\] has no key 'data_dir': did you mean 'data'"),
        ("on_broken", "zzz", r"stage\[1\]\.data\[0\] has no key 'zzz': its keys are path, weight, on_broken, train_on"),
        ("[run]", "[runs]", r"the file has no key 'runs': did you mean 'run'"),
        ("num_heads = 4\n", "", r"model lacks 'num_heads'"),
        ('name = "pretrain"\nlength = 1021\n', "", r"stage\[0\] lacks 'name', 'length'"),
        ("length = 1021", 'length = "1021"', r"stage\[0\]\.length must be a whole number, not the string '1021'"),
        ("seed = 3", "seed = 3.5", r"run\.seed must be a whole number, not the number 3\.5"),
        ("seed = 3", "seed = true", r"run\.seed must be a whole number, not true"),
        ("weight = 3", "weight = false", r"stage\[0\]\.data\[0\]\.weight must be a number, not false"),
        ("weight = 3", "weight = 0", r"stage\[0\]: data\[0\]\.weight is 0\.0; a weight must be positive"),
        ("addition = 2", "addition = -2", r"stage\[0\]: data\[1\]\.tasks\.addition is -2\.0"),
        ("addition = 2", 'addition = "2"', r"data\[1\]\.tasks\.addition must be a number, not the string '2'"),
        ("[0.9, 0.98]", "[0.9]", r"optimizer\.betas must be an array of 2 values, not of 1"),
        ("[0.9, 0.98]", "0.9", r"optimizer\.betas must be an array, not the number 0\.9"),
        ("optimizer = {", "optimizer = [{", r"Unclosed array"),
        ('"skip"', '"ignore"', r"on_broken is 'ignore'; it must be one of 'stop', 'skip'"),
        (
            'kind = "chat"',
            'kind = "chats"',
            r"data\[0\] has the kind 'chats'; it must be one of 'text', 'chat', 'tasks', 'vocabulary'",
        ),
        ('"books.jsonl"', "7", r"data\[0\]\.path must be a path, not the number 7"),
        ("threshold = 8", "threshold = 0.5", r"stage\[1\]\.guard: threshold is 0\.5; it must be above 1"),
        ("length = 4096", "length = 0", r"stage\[1\]: length is 0"),
        ('[tokenizer]\nfolder = "/tokens"', "", r"a new model needs a tokenizer: name its folder in \[tokenizer\]"),
        ("hidden_size = 64", "hidden_size = 0", "model: hidden_size is 0; it must be at least 1"),
        ("num_heads = 4", "num_heads = 4\nnum_kv_heads = 0", "model: num_kv_heads is 0"),
        ("num_heads = 4", "num_heads = 4\nsoftmax_every = 0", "model: softmax_every is 0"),
        ("num_experts = 4", "num_experts = -1", "model: num_experts is -1; it must not be negative"),
        ("num_heads = 4", "num_heads = 4\nrope_base = -1.0", r"model: rope_base is -1\.0"),
        ('name = "long"', 'name = "pretrain"', r"stages are named pretrain, pretrain; each needs a name of its own"),
        ('kind = "tasks"\n', "", r"stage\[0\]\.data\[1\] lacks 'kind'; it must be one of 'text', 'chat', 'tasks'"),
        ("[run]", "run = 3\n[runx]", r"run\.toml: the file has no key 'runx'"),
    ],
)
def test_bad_input_is_named(tmp_path, old, new, complaint):
    assert RUN.count(old) >= 1
    with pytest.raises(ValueError, match=complaint) as error:
        read(tmp_path, RUN.replace(old, new, 1))
    assert str(tmp_path / "run.toml") in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("run", 3, "run must be a table, not the number 3"),
        ("model", True, "model must be a table, not true"),
        ("stage", {}, "stage must be an array, not a table"),
        ("stage", [], "stage is empty"),
        ("stage", [[1]], r"stage\[0\] must be a table, not an array"),
        ("data", 7, r"stage\[0\]\.data must be an array, not the number 7"),
        ("data", [], r"stage\[0\]: data is empty"),
        ("data", ["books"], r"stage\[0\]\.data\[0\] must be a table, not the string 'books'"),
        ("data", [{"kind": "tasks", "tasks": {}}], r"stage\[0\]: data\[0\]\.tasks is empty"),
    ],
)
def test_values_of_another_shape(tmp_path, monkeypatch, key, value, complaint):
    document = tomllib.loads(RUN)
    (document["stage"][0] if key == "data" else document)[key] = value
    monkeypatch.setattr(tomllib, "loads", lambda text: document)
    with pytest.raises(ValueError, match=complaint):
        read(tmp_path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml does not exist: give the TOML file"):
        read_configuration(tmp_path / "none.toml", data_kind="text")


def test_the_example_of_the_documentation_is_read(tmp_path):
    from fulmen.train import configuration

    lines = configuration.__doc__.split("\n")
    text = "\n".join(line[4:] for line in lines if line.startswith("    "))
    assert tomllib.loads(text)["run"]["name"] == "tiny"
    assert read(tmp_path, text).stage[0].data == (TextData(path=tmp_path / "books.jsonl"),)
