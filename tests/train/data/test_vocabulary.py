"""Random words to copy: replies stand in the question, the whole vocabulary is written, lengths are kept."""

import pytest

from fulmen.train.configuration import StageTable, VocabularyData
from fulmen.train.data.files import Writing
from fulmen.train.data.opening import open_data
from fulmen.train.data.vocabulary import VocabularySource
from fulmen.train.settings import OptimizerSettings


@pytest.fixture(scope="module")
def writing(tokenizer_folder):
    return Writing.load(tokenizer_folder)


def texts(writing, sample):
    """What the user wrote and what the assistant did."""
    decode = writing.tokenizer.decode
    trained = [i for i, wanted in enumerate(sample.mask) if wanted]
    return decode(sample.token_ids[: trained[0]]), decode(sample.token_ids[trained[0] : trained[-1]])


def test_replies_copy_what_the_question_holds(writing):
    source = VocabularySource(writing, length=1024, seed=1)
    kinds = set()
    for _ in range(200):
        question, reply = texts(writing, source.next())
        assert reply
        assert reply in question
        kinds.add("What is" in question)
    assert kinds == {True, False}


def test_nearly_all_tokens_that_make_words_are_written(writing):
    source = VocabularySource(writing, length=1024, seed=2)
    tokenizer = writing.tokenizer
    words = {i for i, piece in enumerate(tokenizer.token_bytes) if piece.decode(errors="replace").strip().isalnum()}
    written = {
        token
        for _ in range(3000)
        for sample in [source.next()]
        for token, trained in zip(sample.token_ids, sample.mask, strict=True)
        if trained
    }
    assert len(written & (words - tokenizer.special_token_ids)) > 0.8 * len(words)


def test_conversations_fit_into_the_length(writing):
    source = VocabularySource(writing, length=60, seed=3)
    assert all(len(source.next().token_ids) <= 60 for _ in range(100))
    with pytest.raises(ValueError, match="fits into 8 tokens: raise the stage's length"):
        VocabularySource(writing, length=8, seed=3).next()


def test_a_stage_opens_it(tmp_path, writing):
    stage = StageTable(
        name="s", length=97, tokens=1000, tokens_per_step=97, tokens_per_micro_batch=97,
        optimizer=OptimizerSettings(learning_rate=1e-3), data=(VocabularyData(),),
    )  # fmt: skip
    question, reply = texts(writing, open_data(stage, writing, {}, seed=0, cache=tmp_path).next())
    assert reply in question
