"""The native library is compiled once, by whatever compiler works; without one, torch runs and says why."""

import os
import subprocess
import sys

import pytest

from fulmen.kernels.native import build


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("FULMEN_HOME", str(tmp_path / "home"))


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return [str(path)]


def fake_compiler(path):
    """Counts its runs and writes a file where the library should be."""
    log = path.with_suffix(".log")
    return script(
        path,
        f'[ "$1" = --version ] && exit\necho run >> {log}\nwhile [ "$1" != -o ]; do shift; done\necho library > "$2"',
    ), log


def test_the_library_is_compiled_once(monkeypatch, tmp_path):
    command, log = fake_compiler(tmp_path / "cc")
    monkeypatch.setattr(build, "compilers", lambda: [command])
    first = build.library()
    assert first.read_text() == "library\n"
    assert build.library() == first
    assert log.read_text() == "run\n"
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_the_library_lies_in_the_home_of_fulmen(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FULMEN_HOME", "~/kept")
    assert build.cache_folder() == tmp_path / "kept" / "native"


def test_another_source_is_another_library(monkeypatch, tmp_path):
    command, _ = fake_compiler(tmp_path / "cc")
    monkeypatch.setattr(build, "compilers", lambda: [command])
    first = build.library()
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    (tmp_path / "other.cpp").write_text("// nothing")
    assert build.library() != first


def test_the_next_compiler_is_tried_when_one_fails(monkeypatch, tmp_path):
    broken = script(tmp_path / "broken", "echo no such header >&2; exit 1")
    works, _ = fake_compiler(tmp_path / "cc")
    monkeypatch.setattr(build, "compilers", lambda: [broken, works])
    assert build.library().exists()
    monkeypatch.setattr(build, "compilers", lambda: [broken])
    with pytest.raises(build.BuildError, match=r"(?s)broken could not compile.*no such header.*ziglang") as error:
        build.library()
    assert "install a C++ compiler" in str(error.value)


def test_a_folder_that_can_not_be_written_is_no_crash(monkeypatch, tmp_path):
    (tmp_path / "home").write_text("a file where the cache should be")
    command, _ = fake_compiler(tmp_path / "cc")
    monkeypatch.setattr(build, "compilers", lambda: [command])
    with pytest.raises(build.BuildError, match="home"):
        build.library()


WITHOUT_COMPILER = """
import logging, torch
from fulmen.kernels.native import build
build.compilers = lambda: []
from fulmen.kernels import native
assert not native.available() and not native.available()
assert "ziglang" in native.unavailable_reason()

from fulmen.config import ModelConfig, hybrid_layers
from fulmen.engine.runner import Runner
from fulmen.model.cache import HybridCache
from fulmen.model.decoder import Decoder
config = ModelConfig(vocab_size=9, hidden_size=8, num_heads=1, num_kv_heads=1, head_dim=8, intermediate_size=8,
                     rotary_dim=8, layers=hybrid_layers(1, softmax_every=1, feed_forward="dense"))
Runner(Decoder(config).initialize(seed=0), HybridCache(config, num_pages=1, num_slots=1))
"""


def test_without_a_compiler_torch_runs_and_one_warning_says_so():
    command = [sys.executable, "-c", WITHOUT_COMPILER]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("native kernels are off") == 1
