"""A recipe's file to a recipe: scaled, its mixtures spelled out, its texts those that could be had."""

from itertools import pairwise
from pathlib import Path

import pytest

from fulmen.train.configuration import TaskData, TextData
from fulmen.train.corpora import corpus_sources
from fulmen.train.recipe import read_recipe, recipe_names, recipe_text

HEAD = """
[recipe]
name = "r"
corpora = ["a", "b"]
[vocabulary]
size = 300
tasks = "m"
[evaluation]
tasks = { addition = 0.5 }
[model]
hidden_size = 16
num_layers = 2
num_heads = 2
head_dim = 8
intermediate_size = 16
num_experts = 2
[mixtures.m]
"*" = 1
"add*" = 3
"subtraction" = 0
"""
STAGE = """
[[stage]]
name = "s"
length = 64
tokens = 1_000_000
tokens_per_step = 256
tokens_per_micro_batch = 128
optimizer = { learning_rate = 1e-3 }
schedule = { warmup_steps = 100 }
data = [
    { kind = "text", path = "corpora/a.jsonl", weight = 3 },
    { kind = "text", path = "corpora/b.jsonl", weight = 1 },
    { kind = "tasks", tasks = "m", weight = 4 },
]
"""
NAMES = ["addition", "division", "subtraction"]


@pytest.fixture
def read(tmp_path):
    def read_text(text=HEAD + STAGE, **options):
        file = tmp_path / "r.toml"
        file.write_text(text)
        return read_recipe(str(file), tmp_path / "run", **({"task_names": NAMES} | options))

    return read_text


def test_mixtures_are_spelled_out_by_pattern(read):
    [tasks] = [entry for entry in read().stage[0].data if isinstance(entry, TaskData)]
    assert tasks.tasks == {"addition": 3.0, "division": 1.0}
    assert read().vocabulary.tasks == tasks.tasks
    assert read().evaluation.tasks == {"addition": 0.5}


def test_scale_multiplies_every_budget(read):
    recipe = read(scale=0.01)
    assert (recipe.stage[0].tokens, recipe.stage[0].schedule.warmup_steps) == (10_000, 1)
    assert (recipe.vocabulary.examples_per_task, recipe.evaluation.examples) == (20, 5)
    assert read(scale=1e-6).stage[0].steps == 1
    for scale in (0.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"scale is {scale}"):
            read(scale=scale)


def test_corpora_that_are_missing_leave_their_share_to_the_others(read):
    recipe = read().with_corpora(["b"])
    assert [(entry.kind, entry.weight) for entry in recipe.stage[0].data] == [("text", 4.0), ("tasks", 4.0)]
    assert read().with_corpora(["a", "b"]) == read()
    with pytest.raises(ValueError, match="stage s has no text"):
        read().with_corpora([])


def test_paths_lie_in_the_folder_and_the_record_does_not_depend_on_it(read, tmp_path):
    recipe = read()
    assert recipe.stage[0].data[0].path == tmp_path / "run" / "corpora" / "a.jsonl"
    assert recipe.to_json(tmp_path / "run")["stage"][0]["data"][0]["path"] == "corpora/a.jsonl"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (('tasks = "m"', 'tasks = "n"'), "vocabulary has a mixture 'n'"),
        (('"add*"', '"sums*"'), "'sums*', which fits none of the tasks addition"),
        (("corpora =", "corporas ="), "did you mean 'corpora'"),
        (("size = 300", "size ="), "r.toml"),
        (("[[stage]]", "[stage]"), "stage must be an array"),
        (('[vocabulary]\nsize = 300\ntasks = "m"', ""), "lacks 'vocabulary'"),
        (('"add*" = 3', '"add*" = "x"'), "mixtures.m.add* must be a number"),
        (
            ("{ addition = 0.5 }", "{ adition = 0.5 }"),
            "evaluation: no task is called 'adition': did you mean 'addition'",
        ),
        (('tasks = "m", weight', "tasks = { zzz = 1 }, weight"), "stage[0].data[2]: no task is called 'zzz': known"),
        (("corpora/b", "corpora/c"), "stage[0].data[1] reads corpora/c.jsonl, which is not among the corpora"),
        (('name = "r"', 'name = "tokenizer"'), "name is 'tokenizer'"),
        (("[model]", "[sampling]\ntop_p = 0.0\n[model]"), "top_p 0.0"),
        (("[model]", "[sampling]\nthinking_budget = 0\n[model]"), "thinking_budget is 0; it must be at least 1"),
        (("{ addition = 0.5 }", "{ addition = 0.5 }\nmax_tokens = 0"), "max_tokens is 0"),
    ],
)
def test_what_is_wrong_is_named(read, change, reason):
    with pytest.raises(ValueError, match="recipe .*r.toml: ") as error:
        read((HEAD + STAGE).replace(*change))
    assert reason in str(error.value)


def test_stages_of_the_same_name_are_refused(read):
    with pytest.raises(ValueError, match="stages are named s, s; each needs a name of its own"):
        read(HEAD + STAGE + STAGE)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ValueError, match="no recipe is called 'sparc'; known are .*spark"):
        recipe_text("sparc")


def test_spark_meets_sessions_in_their_stages_only():
    from fulmen.tasks.registry import TASKS

    recipe = read_recipe("spark", Path("run"), task_names=TASKS)
    with_sessions = {where for where, tasks in recipe.tasks().items() if "tool_sessions" in tasks}
    stages = [i for i, stage in enumerate(recipe.stage) if stage.name.startswith("sessions")]
    assert with_sessions == {"evaluation", *(f"stage[{i}].data[0]" for i in stages)}


@pytest.mark.parametrize("name", recipe_names())
def test_the_packages_recipes_are_sound(name):
    from fulmen.tasks.registry import TASKS

    recipe = read_recipe(name, Path("run"), task_names=TASKS)
    assert set(recipe.recipe.corpora) <= corpus_sources().keys()
    texts = [entry.path for stage in recipe.stage for entry in stage.data if isinstance(entry, TextData)]
    assert {path.name for path in texts} == {f"{corpus}.jsonl" for corpus in recipe.recipe.corpora}
    lengths = [stage.length for stage in recipe.stage]
    assert lengths[-1] == max(lengths)  # whatever was learned last, the long texts come after it
    shortest = lengths[0]
    for before, stage in pairwise(recipe.stage):
        if stage.num_layers is not None:  # a deeper model begins with shorter texts again
            shortest = stage.length
        assert stage.length >= before.length or stage.length == shortest
