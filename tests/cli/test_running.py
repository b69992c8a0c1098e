"""What is chosen for a model where the user chose nothing: how much it may think."""

import json
import shutil

import pytest

from fulmen.catalog import resolve
from fulmen.cli.running import load, preset_thinking_budget


def with_budget(folder, budget):
    folder.mkdir(exist_ok=True)
    (folder / "generation_config.json").write_text(json.dumps({"thinking_budget": budget}))
    return folder


def test_the_checkpoint_says_how_much_it_may_think_whatever_it_is_called(checkpoint, tmp_path):
    copied = shutil.copytree(checkpoint, tmp_path / "trained")
    assert load(str(copied)).thinking_budget is None
    assert load(str(with_budget(copied, 300))).thinking_budget == 300
    assert preset_thinking_budget("minimax-m1-40k", copied) == 300
    assert preset_thinking_budget("trained", resolve("spark")) == 1024


def test_published_versions_of_minimax_m1_have_theirs(tmp_path):
    assert preset_thinking_budget("minimax-m1-40k", tmp_path) == 40_000
    assert preset_thinking_budget("minimax-m1-80k", with_budget(tmp_path / "null", None)) == 80_000


@pytest.mark.parametrize("budget", [0, -1, True, 1.5, "1024", [1024]])
def test_a_budget_that_is_none_is_named_with_its_file(checkpoint, tmp_path, budget):
    copied = with_budget(shutil.copytree(checkpoint, tmp_path / "trained"), budget)
    with pytest.raises(ValueError, match=r"trained/generation_config\.json has the thinking_budget .*: make it a posi"):
        load(str(copied))
