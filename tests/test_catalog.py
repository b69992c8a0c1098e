"""Names to folders."""

from pathlib import Path

import pytest

from fulmen import catalog
from fulmen.catalog import MODELS, folder_of, resolve


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of its own, with nothing in it."""
    monkeypatch.setattr(catalog, "__file__", str(tmp_path / "fulmen" / "catalog.py"))
    monkeypatch.setenv("FULMEN_HOME", str(tmp_path / "home"))
    return tmp_path / "fulmen"


def test_a_shipped_model_lies_in_the_package(package):
    (package / "spark").mkdir(parents=True)
    (package / "spark" / "config.json").write_text("{}")
    assert folder_of("spark") == resolve("spark") == package / "spark"


def test_a_shipped_model_without_weights_says_how_to_train_them(package):
    with pytest.raises(ValueError, match="spark has no weights: train them with `fulmen train recipe spark`"):
        resolve("spark")


def test_a_pulled_model_lies_in_the_home(package, tmp_path):
    assert folder_of("smollm2-135m") == tmp_path / "home" / "models" / "smollm2-135m"
    with pytest.raises(ValueError, match="run `fulmen pull smollm2-135m` first"):
        resolve("smollm2-135m")


def test_a_folder_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spark").mkdir()
    (tmp_path / "spark" / "config.json").write_text("{}")
    assert resolve("spark") == Path("spark")


def test_nothing_is_both_shipped_and_pulled():
    assert not any(model.shipped and model.wheel for model in MODELS.values())
    assert {name for name, model in MODELS.items() if model.shipped} == {"spark"}
