"""Random words to copy and compare: replies stand in the question, verdicts are right, the whole vocabulary is used."""

import re

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
    for _ in range(400):
        question, reply = texts(writing, source.next())
        if not question.startswith("Which fit?"):
            assert reply
            assert reply in question
            kinds.add("What is" in question)
    assert kinds == {True, False}


def test_verdicts_alone_are_trained_and_tell_whether_a_name_is_of_a_deed(writing):
    source, verdicts = VocabularySource(writing, length=1024, seed=4), []
    for _ in range(100):
        sample = source.next()
        text = writing.tokenizer.decode(sample.token_ids)
        if not text.startswith("Which fit?"):
            continue
        trained = [token for token, wanted in zip(sample.token_ids, sample.mask, strict=True) if wanted]
        question, _, *lines = text.split("\n")[:-1]
        fits = [line.removeprefix("fits: ") for line in lines if line.startswith("fits: ")]
        names = [line.removesuffix(" no") for line in fits]
        assert sorted(question.removeprefix("Which fit? ").split(", ")) == sorted(names)
        ends = (" no\n" if line.endswith(" no") else "\n" for line in fits)
        assert writing.tokenizer.decode(trained) == "".join(ends)
        for line in lines:
            if not line.startswith("fits: "):
                verb, thing = re.fullmatch(r"(\S+) (?:a|the|my) (\S+)", line).groups()
                continue
            name, refused = re.fullmatch(r"fits: (\S+?)( no)?", line).groups()
            styles = {f"{a}{sign}{b}".lower() for a, b in ((verb, thing), (thing, verb)) for sign in ("_", "")}
            assert (refused is None) == (name.lower() in styles)
            verdicts.append(refused is None)
    assert len(verdicts) > 500
    assert 0.4 < sum(verdicts) / len(verdicts) < 0.6


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
    source = VocabularySource(writing, length=80, seed=3)
    assert all(len(source.next().token_ids) <= 80 for _ in range(100))
    with pytest.raises(ValueError, match="fits into 8 tokens: raise the stage's length"):
        VocabularySource(writing, length=8, seed=3).next()


def test_a_stage_opens_it(tmp_path, writing):
    stage = StageTable(
        name="s", length=97, tokens=1000, tokens_per_step=97, tokens_per_micro_batch=97,
        optimizer=OptimizerSettings(learning_rate=1e-3), data=(VocabularyData(),),
    )  # fmt: skip
    source = open_data(stage, writing, {}, seed=0, cache=tmp_path)
    beginnings = {writing.tokenizer.decode(source.next().token_ids).startswith("Which fit?") for _ in range(20)}
    assert beginnings == {True, False}
