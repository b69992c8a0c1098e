"""Files of a checkpoint folder that are damaged: one error that names the file, the key and what it must be."""

import json
import re
import shutil

import pytest

from fulmen.cli.running import load
from fulmen.model.weights import load_checkpoint, save_checkpoint

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer_config.json"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def damaged(checkpoint, tmp_path):
    """A whole checkpoint in shards, to be damaged."""
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    save_checkpoint(load_checkpoint(folder), folder, family="minimax_m1", max_shard_bytes=20_000)
    assert (folder / INDEX).is_file()
    return folder


def refusal(folder, file):
    """The error of loading, without what the file is called."""
    with pytest.raises(ValueError, match=re.escape(str(folder / file))) as error:
        load(str(folder), quantize="none")
    return str(error.value).removeprefix(str(folder / file))


@pytest.mark.parametrize("file", [CONFIG, GENERATION, TOKENIZER, INDEX])
@pytest.mark.parametrize("text", ['{"weight_map": {"a', "", "\x00"])
def test_a_file_that_is_cut_off(damaged, file, text):
    (damaged / file).write_text(text)
    assert re.match(r" is no JSON \(.*\): it is damaged or cut off, copy it again", refusal(damaged, file))


@pytest.mark.parametrize("file", [CONFIG, GENERATION, TOKENIZER])
@pytest.mark.parametrize("value", [[], None, 5])
def test_a_file_that_holds_no_object(damaged, file, value):
    (damaged / file).write_text(json.dumps(value))
    assert refusal(damaged, file) == f" must hold a JSON object, not {value!r}"


@pytest.mark.parametrize("value", [[], {}, {"weight_map": None}, {"weight_map": ["a"]}, {"weight_map": {"a": 5}}])
def test_an_index_without_a_weight_map(damaged, value):
    (damaged / INDEX).write_text(json.dumps(value))
    assert "has no weight_map from tensors to files" in refusal(damaged, INDEX)


@pytest.mark.parametrize(
    "key",
    [
        "vocab_size",
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "intermediate_size",
        "max_position_embeddings",
        "rms_norm_eps",
        "attn_type_list",
        "num_local_experts",
    ],
)
def test_a_config_without_a_key(damaged, key):
    facts = json.loads((damaged / CONFIG).read_text())
    del facts[key], facts["head_dim"]
    (damaged / CONFIG).write_text(json.dumps(facts))
    assert re.match(f": missing keys: .*{key}", refusal(damaged, CONFIG))


@pytest.mark.parametrize(
    ("file", "key", "value", "words"),
    [
        (CONFIG, "model_type", ["llama"], "known are"),
        (CONFIG, "vocab_size", "many", "must be a whole number from 1 up"),
        (CONFIG, "hidden_size", None, "must be a whole number from 1 up"),
        (CONFIG, "num_hidden_layers", 4.0, "must be a whole number from 1 up"),
        (CONFIG, "num_attention_heads", 0, "must be a whole number from 1 up"),
        (CONFIG, "num_key_value_heads", 0, "must be a whole number from 1 up or null"),
        (CONFIG, "head_dim", True, "must be a whole number from 1 up or null"),
        (CONFIG, "num_live_tokens", "9", "must be a whole number from 1 up or null"),
        (CONFIG, "num_experts_per_tok", -1, "must be a whole number from 0 up"),
        (CONFIG, "rotary_dim", None, "must be a whole number from 0 up"),
        (CONFIG, "rms_norm_eps", "1e-5", "must be a number above 0"),
        (CONFIG, "rope_theta", float("nan"), "must be a number above 0"),
        (CONFIG, "layernorm_mlp_alpha", None, "must be a number"),
        (CONFIG, "router_aux_loss_coef", "much", "must be a number"),
        (CONFIG, "tie_word_embeddings", 1, "must be true or false"),
        (CONFIG, "attn_type_list", ["0", "0", "0", "1"], "must be a list of 0"),
        (CONFIG, "attn_type_list", 1, "must be a list of 0"),
        (CONFIG, "rope_parameters", 1e4, "must be an object or null"),
        (CONFIG, "bos_token_id", "<s>", "must be a whole number or null"),
        (CONFIG, "eos_token_id", [1, "</s>"], "must be a whole number, a list of them or null"),
        (GENERATION, "eos_token_id", "</s>", "must be a whole number, a list of them or null"),
        (GENERATION, "temperature", "warm", "must be a number or null"),
        (GENERATION, "top_p", 1.5, "must be within 0.0 and 1.0"),
        (TOKENIZER, "chat_template", 5, "must be a text"),
        (TOKENIZER, "chat_template", [{"name": "default", "template": 5}], "must be a text"),
    ],
)
def test_a_value_of_the_wrong_kind(damaged, file, key, value, words):
    facts = json.loads((damaged / file).read_text()) if (damaged / file).is_file() else {}
    (damaged / file).write_text(json.dumps(facts | {key: value}))
    assert re.match(f": {key} is .*{words}", refusal(damaged, file))


def test_heads_that_leave_no_width(damaged):
    facts = json.loads((damaged / CONFIG).read_text()) | {"head_dim": None, "num_attention_heads": 64}
    (damaged / CONFIG).write_text(json.dumps(facts))
    assert refusal(damaged, CONFIG) == ": head_dim is 0; it must be a whole number from 1 up or null"


@pytest.mark.parametrize("templates", [["default"], [{"name": "default"}], []])
def test_a_list_without_a_default_template_is_none(damaged, templates):
    (damaged / TOKENIZER).write_text(json.dumps({"chat_template": templates}))
    assert load(str(damaged), quantize="none").template.thinks
