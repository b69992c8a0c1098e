"""Results of tools: replies say what the result says; a calculator is asked for the sum, a search for the words."""

import json
import re
from dataclasses import replace

import pytest
from dialogue_proofs import prove_grammar, prove_round_trip, prove_scores, prove_splits, take

from fulmen.chat.message import Message
from fulmen.tasks.calls import TASKS
from fulmen.tasks.calls.document_search import searched

RESULTS, CALCULATOR, SEARCH = TASKS["tool_results"](), TASKS["calculator"](), TASKS["document_search"]()
splits = pytest.mark.parametrize("split", ["train", "test"])


@splits
@pytest.mark.parametrize("task", [RESULTS, CALCULATOR, SEARCH], ids=lambda task: task.name)
def test_task_proves_itself(task, split):
    for seed in range(6):
        examples = take(task, split, seed, 80)
        prove_scores(task, examples)
        prove_round_trip(examples)


@pytest.mark.parametrize("task", [RESULTS, CALCULATOR, SEARCH], ids=lambda task: task.name)
def test_splits_share_no_problem(task):
    prove_splits(task, 500)


@splits
def test_calls_before_the_result_keep_to_the_schemas(split):
    for example in take(RESULTS, split, 1, 150):
        request, call, result = example.messages
        assert result.tool_call_id == call.tool_calls[0].id
        prove_grammar(replace(example, messages=(request,), demonstration=call))


@splits
def test_replies_say_what_the_result_says(split):
    kinds = set()
    for example in take(RESULTS, split, 2, 1500):
        request, _, result = example.messages
        label, what = example.demonstration.thinking.split(": ", 1)
        kinds.add(what if what == "not there" else label if label in ("error", "result") else "field")
        if what == "not there":
            assert label not in json.loads(result.content)
            assert label.replace("_", " ") in request.content
        elif label not in ("error", "result"):
            fields = json.loads(result.content)
            assert str(fields[label]) == what
            assert len(fields) == 1 or label.replace("_", " ") in request.content
        else:
            assert what in result.content
    assert kinds == {"not there", "error", "result", "field"}


def test_another_field_is_no_answer():
    example = next(e for e in take(RESULTS, "test", 0, 200) if len(e.reference["wrong"]) >= 2)
    phrase, wrong = example.reference["phrase"], example.reference["wrong"]
    for content, value in ((f"{phrase}!", 1), (wrong[0], 0), (f"{phrase}, {wrong[0]}", 0)):
        assert RESULTS.score(example, Message(role="assistant", content=content)).value == value
    call = example.messages[1].tool_calls
    assert RESULTS.score(example, Message(role="assistant", content=phrase, tool_calls=call)).value == 0


@splits
def test_the_calculator_is_right(split):
    stages = set()
    for example in take(CALCULATOR, split, 3, 1000):
        stages.add(len(example.messages))
        call = example.demonstration if len(example.messages) == 1 else example.messages[1]
        (given,) = (json.loads(written.arguments) for written in call.tool_calls)
        spoken = example.messages[0].content
        for word, sign in (("plus", "+"), ("minus", "-"), ("times", "*"), ("divided by", "/")):
            spoken = spoken.replace(word, sign)
        assert given["expression"] in spoken
        assert re.fullmatch(r"\d+( [-+*/] \d+){1,2}", given["expression"])
        if len(example.messages) == 3:
            value = float(example.reference["phrase"])
            assert value == pytest.approx(eval(given["expression"]), abs=1e-4)
            assert example.reference["phrase"] in example.messages[2].content
    assert stages == {1, 3}


@splits
def test_answers_stand_in_the_passage_that_they_cite(split):
    kinds, titles = set(), set()
    for example in take(SEARCH, split, 3, 600):
        if "query" in example.reference:
            prove_grammar(example)
            continue
        found, answer, cited = example.messages[-1].content, example.reference["answer"], example.reference["cited"]
        kinds.add((bool(cited), found.startswith("[")))
        if cited:
            [passage] = [text for text in re.split(r"\n\n(?=\[)", found) if text.startswith(f"[{cited[0]}]")]
            assert answer in passage
            titles |= {title == heading for title, heading in re.findall(r"\((.+)\)\n# (.+)\n\n", passage)}
    assert titles == {True}
    assert kinds == {(True, True), (False, True), (False, False)}


def test_the_wrong_citation_is_no_answer():
    example = next(e for e in take(SEARCH, "test", 0, 200) if e.reference.get("cited"))
    answer, [cited] = example.reference["answer"], example.reference["cited"]
    for content in (answer, f"{answer} [{cited}0]", f"{answer} [{cited}] [9]", f"[{cited}]"):
        assert SEARCH.score(example, Message(role="assistant", content=content)).value == 0
    assert SEARCH.score(example, Message(role="assistant", content=f"It is {answer} [{cited}].")).value == 1


def test_a_search_goes_by_the_words_of_the_question():
    assert searched("Where does Ada live?") == "Ada live"
    assert searched("What is the price of the amber lamp?") == "price amber lamp"
