"""A tiny random hybrid as a checkpoint folder, with a tokenizer of one token for each byte."""

import pytest
import tokenizers
from tiny_hybrid import tiny_decoder
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from fulmen.model.weights import save_checkpoint

CONTROL = ("<begin_of_document>", "<end_of_document>", "<beginning_of_sentence>", "<end_of_sentence>")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True) for text in CONTROL])
    decoder = tiny_decoder(vocab_size=backend.get_vocab_size(), max_context=2000)
    # Letters and blanks only, so that what the model writes is text.
    strange = [i for char, i in backend.get_vocab().items() if not (char.isascii() and char.isalpha()) and char != "Ġ"]
    decoder.lm_head.weight[strange] = 0
    save_checkpoint(decoder, folder, family="minimax_m1")
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<end_of_sentence>"}')
    return folder
