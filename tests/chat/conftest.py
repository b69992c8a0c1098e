"""A small byte-level vocabulary with MiniMax-M1's control tokens, trained on a few lines."""

import json

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer

CONTROL = ("<begin_of_document>", "<end_of_document>", "<beginning_of_sentence>", "<end_of_sentence>")
CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LINES = (
    "user name=user\nWhat is the weather in Paris?\nai name=assistant\n<think>\nThe user wants the weather.\n</think>",
    '<tool_calls>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_calls>\ntool result: sunny',
    "system ai_setting=assistant\nsystem tool_setting=tools\nYou are provided with these tools:\n<tools>\n</tools>",
    "assistant:<think>\n",
)


def train(control=CONTROL, plain_tags=()):
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(LINES * 4, trainer)
    backend.add_special_tokens([AddedToken(text, special=True) for text in control])
    backend.add_tokens([AddedToken(text, special=False) for text in plain_tags])
    return backend


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A checkpoint folder of MiniMax-M1's kind: no end token in config.json, one in tokenizer_config.json."""
    path = tmp_path_factory.mktemp("m1")
    train().save(str(path / "tokenizer.json"))
    (path / "config.json").write_text(json.dumps({"eos_token_id": None}))
    tokens = {"bos_token": "<beginning_of_sentence>", "eos_token": "<end_of_sentence>"}
    (path / "tokenizer_config.json").write_text(json.dumps(tokens))
    return path


@pytest.fixture(scope="session")
def tokenizer(folder):
    return Tokenizer.load(folder)


@pytest.fixture(scope="session")
def template(folder):
    return ChatTemplate.load(folder)


@pytest.fixture(scope="session")
def chatml_tokenizer():
    backend = train(control=("<|im_start|>", "<|im_end|>"), plain_tags=("<think>", "</think>"))
    return Tokenizer(backend, eos_token_ids=[backend.token_to_id("<|im_end|>")])


@pytest.fixture(scope="session")
def chatml_source():
    return CHATML


@pytest.fixture(scope="session")
def chatml():
    return ChatTemplate(CHATML)
