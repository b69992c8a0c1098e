"""A recipe from nothing to a checkpoint that chats, evaluated and described; the second call finds all of it done."""

import itertools
import json
import shutil
import warnings

import pytest
import torch
from typer.testing import CliRunner

import fulmen
from fulmen.catalog import resolve
from fulmen.chat.message import Message
from fulmen.cli.app import app
from fulmen.cli.running import load
from fulmen.config_formats import read_config_file
from fulmen.engine.engine import Engine
from fulmen.model.weights import load_checkpoint
from fulmen.rollout.policy import Conversation, EnginePolicy
from fulmen.tasks import registry
from fulmen.trace import SamplingParams
from fulmen.train import corpora
from fulmen.train.corpora import CorpusSource
from fulmen.train.cost import training_flops
from fulmen.train.data.files import Writing
from fulmen.train.packing import PackedBatch
from fulmen.train.scoring import Scorer

TASKS = ("addition", "comparison", "gym_products")
RECIPE = """
[recipe]
name = "mini"
corpora = ["pages", "absent"]
max_weight_bytes = 1_000_000

[vocabulary]
size = 300
examples_per_task = 50
tasks = "every"

[model]
hidden_size = 32
num_layers = 4
softmax_every = 4
num_heads = 2
num_kv_heads = 1
head_dim = 16
intermediate_size = 32
num_experts = 2

[mixtures.every]
"*" = 1

[sampling]
thinking_budget = 40

[evaluation]
tasks = "every"
examples = 5
max_tokens = 8

[[stage]]
name = "pretrain"
length = 128
tokens = 3000
tokens_per_step = 512
tokens_per_micro_batch = 256
optimizer = { learning_rate = 3e-3 }
data = [
    { kind = "text", path = "corpora/pages.jsonl", weight = 2 },
    { kind = "text", path = "corpora/absent.jsonl", weight = 2 },
    { kind = "tasks", tasks = "every", train_on = "all", weight = 6 },
]

[[stage]]
name = "long"
num_layers = 8
length = 256
rope_base = 40_000.0
tokens = 1500
tokens_per_step = 512
tokens_per_micro_batch = 256
optimizer = { learning_rate = 1e-3 }
data = [{ kind = "tasks", tasks = "every", weight = 3 }, { kind = "vocabulary" }]
"""


def run(*arguments):
    result = CliRunner().invoke(app, ["train", "recipe", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recipe that was carried out: (its file, its folder, the environment that it needs)."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "pages").mkdir()
    for page in range(8):
        words = " ".join(f"word{page * number} is a word of page {page}." for number in range(40))
        (folder / "pages" / f"{page}.py").write_text(words)
    (folder / "mini.toml").write_text(RECIPE)
    facts = {"title": "Pages", "licence": "MIT", "format": "python", "files": ("*.py",)}
    sources = {
        "pages": CorpusSource(name="pages", folder=str(folder / "pages"), **facts),
        "absent": CorpusSource(name="absent", folder=str(folder / "nowhere"), **facts),
    }
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        patch.setattr(corpora, "corpus_sources", lambda: sources)
        patch.setattr(registry, "TASKS", {name: registry.TASKS[name] for name in TASKS})
        output = run(folder / "mini.toml", "--folder", folder / "run")
        assert output.splitlines()[-1] == str(folder / "run" / "mini")
        yield folder / "mini.toml", folder / "run"


def test_the_checkpoint_is_whole_and_chats(made):
    _, folder = made
    config = read_config_file(folder / "mini" / "config.json")
    assert (config.num_layers, config.max_context, config.rope_base, config.vocab_size) == (8, 256, 40_000.0, 300)
    generation = json.loads((folder / "mini" / "generation_config.json").read_text())
    assert (generation["temperature"], generation["thinking_budget"]) == (0.0, 40)
    assert load(str(folder / "mini")).thinking_budget == 40
    assert json.loads((folder / "mini" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert fulmen.load(resolve(folder / "mini")).config == config
    arguments = ["chat", str(folder / "mini"), "--max-tokens", "4"]
    assert CliRunner().invoke(app, arguments, input="What is 1 + 2?", catch_exceptions=False).exit_code == 0


def test_the_card_tells_what_the_files_say(made):
    _, folder = made
    card = (folder / "mini" / "README.md").read_text()
    [pages] = [json.loads(file.read_text()) for file in (folder / "corpora").glob("*.json")]
    lines = [json.loads(line) for line in (folder / "training" / "metrics.jsonl").read_text().splitlines()]
    assert f"| Pages | MIT | {pages['origin']} | {pages['documents']} |" in card
    assert "Left out, as they could not be had where it was trained: absent." in card
    assert "| pretrain | 40.0% | pages |" in card
    assert "| long | 25.0% | random words of the vocabulary, half to be compared, half to be repeated or" in card
    assert f"| long, 8 layers | 256 | {lines[-1]['tokens'] / 1e6:.2f} M | 3 |" in card
    deep = read_config_file(folder / "mini" / "config.json")
    shallow = deep.replace(layers=deep.layers[:4])
    read = lines[len(lines) - 4]["tokens"]
    assert f"| {training_flops(shallow, 128, read):.2e} |\n| long" in card
    results = json.loads((folder / "evaluation.json").read_text())["tasks"]
    assert tuple(result["task"] for result in results) == TASKS
    assert all(f"| {result['task']} | {result['mean']:.1%} +- " in card for result in results)
    assert RECIPE.strip() in card
    assert "Easier than reasoning-gym's defaults: gym_products (max_digits 2)." in card
    assert "generated problems of 3 tasks" in card
    assert (folder / "mini" / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_call_finds_everything_done(made):
    recipe, folder = made
    kept = [
        "tokenizer/tokenizer.json",
        "training/metrics.jsonl",
        "mini/config.json",
        "evaluation.json",
        "mini/README.md",
    ]
    before = {name: (folder / name).read_bytes() for name in kept}
    times = {name: (folder / name).stat().st_mtime_ns for name in ("mini/config.json", "evaluation.json")}
    absent = recipe.parent / "nowhere"  # a text that can be had only now changes nothing any more
    absent.mkdir()
    (absent / "late.py").write_bytes((recipe.parent / "pages" / "0.py").read_bytes())
    run(recipe, "--folder", folder)
    shutil.rmtree(absent)
    assert {name: (folder / name).read_bytes() for name in kept} == before
    assert {name: (folder / name).stat().st_mtime_ns for name in times} == times


def test_another_scale_needs_another_folder(made):
    recipe, folder = made
    with pytest.raises(ValueError, match="begun with another recipe or scale"):
        run(recipe, "--folder", folder, "--scale", 0.5)


@pytest.mark.usefixtures("made")
def test_weights_beyond_the_limit_are_refused(tmp_path):
    small = tmp_path / "small.toml"
    small.write_text(RECIPE.replace("max_weight_bytes = 1_000_000", "max_weight_bytes = 1000"))
    with pytest.raises(ValueError, match=r"recipe allows 0\.0 MB"):
        run(small, "--folder", tmp_path / "run", "--scale", 0.01)
    assert not (tmp_path / "run" / "training").exists(), "nothing was trained in vain"


def loss_of_held_out_replies(folder):
    """Nats a token of a checkpoint, on replies that solve problems of the test split."""
    writing, scorer = Writing.load(folder), Scorer(load_checkpoint(folder, dtype=torch.float32).requires_grad_(False))
    samples = [
        writing.conversation((*example.messages, example.demonstration), example.tools, "replies").sample()
        for name in ("two_or_three_digit_sums", "word_problems", "tool_calls", "reading")
        for example in itertools.islice(registry.make_task(name).examples("test", 1), 10)
    ]
    logprobs, _ = scorer(PackedBatch.pack(samples))
    return -logprobs.mean().item()


def thought(folder, question):
    """What a checkpoint thinks of a question, read from its reply."""
    loaded = load(str(folder))
    params = SamplingParams(temperature=0.0, max_tokens=60)
    policy = EnginePolicy(Engine(loaded.decoder, loaded.tokenizer), loaded.tokenizer, loaded.template, params=params)
    [(_, reply)] = policy.replies([Conversation(messages=(Message(role="user", content=question),))])
    return reply.message.thinking


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_spark_at_a_hundredth_from_nothing_to_a_chat(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no apt, no network: it goes on with what there is
        run("spark", "--scale", 0.01, "--folder", tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "training" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.8 * losses[0]  # a million tokens: formats and frequent words
    before, after = (loss_of_held_out_replies(tmp_path / name) for name in ("training/pretrain", "spark"))
    assert after < 0.7 * before
    # So young a model may think without an end, but it begins its replies as they are to begin.
    assert thought(tmp_path / "spark", "What is 241 + 317?") is not None
    command = ["chat", str(tmp_path / "spark"), "--max-tokens", "60"]
    result = CliRunner().invoke(app, command, input="What is 2 + 3?", catch_exceptions=False)
    assert result.exit_code == 0
    assert "## Scores" in (tmp_path / "spark" / "README.md").read_text()
