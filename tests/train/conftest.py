"""A small vocabulary of the kind that Fulmen trains, from a few lines."""

import pytest

from fulmen.chat.template import ChatTemplate
from fulmen.chat.tokenizer import Tokenizer
from fulmen.train.tokenizer_training import train_tokenizer

LINES = (
    "user name=user\nWhat is the weather in Paris?\nai name=assistant\n<think>\nThe user wants the weather.\n</think>",
    '<tool_calls>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_calls>\ntool result: sunny',
    "system ai_setting=assistant\nYou are provided with these tools:\n<tools>\n</tools>",
    "What is 17 + 25? 7+5=12, so 2 and carry 1; 1+2+1=4: 42<end_of_sentence>",
)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer") / "new"
    train_tokenizer(LINES * 4, folder, vocab_size=330)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder):
    return Tokenizer.load(tokenizer_folder)


@pytest.fixture(scope="session")
def template(tokenizer_folder):
    return ChatTemplate.load(tokenizer_folder)
