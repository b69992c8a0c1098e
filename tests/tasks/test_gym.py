"""Tasks of reasoning-gym prove themselves by its own scorers, and their traces hold."""

import dataclasses
import re
import sys
from itertools import pairwise
from statistics import median

import pytest
from proofs import prove_scores, prove_splits, take
from worked_steps import check_steps

from fulmen.chat.message import Message
from fulmen.tasks.gym import TASKS
from fulmen.tasks.gym import task as gym_task
from fulmen.tasks.gym.logic import turned
from fulmen.tasks.task import Example

every_task = pytest.mark.parametrize("name", TASKS)
SUMS = (
    "gym_leg_counting", "gym_chain_sum", "gym_products", "gym_simple_geometry", "gym_gcd", "gym_time_intervals",
    "gym_complex_arithmetic",
)  # fmt: skip


def reply(content: str) -> Message:
    """An assistant's message."""
    return Message(role="assistant", content=content)


@every_task
@pytest.mark.parametrize("split", ["train", "test"])
def test_task_proves_itself(name, split) -> None:
    task = TASKS[name]()
    assert task.name == name
    for seed in range(6):
        examples = take(task, split, seed, 50)
        prove_scores(task, examples)
        for one, other in pairwise(examples):
            if one.reference["answer"].lower() != other.reference["answer"].lower():
                score = task.score(one, other.demonstration)
                assert score.value == 0
                assert 0 <= score.parts["gym"] < 1


@every_task
def test_splits_share_no_question(name) -> None:
    prove_splits(TASKS[name](), 1500)


@every_task
def test_traces_are_short_and_say_something(name) -> None:
    lengths = [len(e.demonstration.thinking) for e in take(TASKS[name](), "train", 1, 500)]
    assert min(lengths) >= 3
    assert median(lengths) <= 300
    assert max(lengths) <= 700


@pytest.mark.parametrize("name", SUMS)
def test_every_step_of_a_sum_holds(name) -> None:
    for example in take(TASKS[name](), "train", 2, 500):
        text = example.demonstration.thinking
        for word in ("real ", "imaginary "):
            text = text.replace(word, "")
        assert check_steps(text)


def test_prime_factors_multiply_and_are_prime() -> None:
    for example in take(TASKS["gym_prime_factorization"](), "test", 0, 15):
        factors = [int(factor) for factor in example.reference["answer"].split(" \u00d7 ")]
        assert all(factor % d for factor in factors for d in range(2, factor))
        number = int(example.messages[0].content.split("factorization of ")[1].split(".")[0])
        *trials, last = example.demonstration.thinking.splitlines()
        assert last == f"{factors[-1]} is prime"
        for trial in trials:
            dividend, divisor = map(int, re.findall(r"\d+", trial)[:2])
            quotient, _, remainder = trial.rpartition("=")[2].partition("r")
            assert (int(quotient), int(remainder or 0)) == divmod(dividend, divisor)
        product = 1
        for factor in factors:
            product *= factor
        assert product == number


def test_the_same_form_of_syllogism_has_the_same_answer() -> None:
    answers: dict[str, set[str]] = {}
    for example in take(TASKS["gym_syllogism"](), "train", 0, 3000):
        form = example.demonstration.thinking.partition("\n")[2]
        answers.setdefault(form, set()).add(example.reference["answer"])
    assert len(answers) > 50
    assert all(len(given) == 1 for given in answers.values())


def test_the_way_through_a_family_decides_the_relation() -> None:
    relations: dict[tuple[str, ...], set[str]] = {}
    for example in take(TASKS["gym_family_relationships"](), "train", 0, 3000):
        *steps, sex = example.demonstration.thinking.splitlines()
        bonds = [step.split(" is ")[1].rpartition(" ")[0] for step in steps]
        relations.setdefault((*bonds, sex.split(" is ")[1]), set()).add(example.reference["answer"])
    assert all(len(found) == 1 for found in relations.values()), relations


def test_four_turns_of_a_cube_are_none() -> None:
    colors = dict(zip(("top", "right", "front", "left", "back", "bottom"), "abcdef", strict=True))
    for side in ("front", "right", "back", "left"):
        assert turned(colors, side)["top"] == colors[side]
        cube = colors
        for _ in range(4):
            cube = turned(cube, side)
        assert cube == colors
    assert turned(colors, "bottom")["top"] == "f"


def test_traces_by_hand() -> None:
    solve = {name: make().solve for name, make in TASKS.items()}
    entry = {"metadata": {"word": "cat"}}
    assert solve["gym_spell_backward"](entry) == gym_task.Solution(thinking="c a t\nt a c", answer="tac")
    entry = {"metadata": {"words": ["gug", "gnn"]}}
    assert solve["gym_isomorphic_strings"](entry).thinking == "g u g\ng n n\ng-g:g u-n:n g-n:g no"
    entry = {"metadata": {"words": ["foo", "bar"]}}
    assert solve["gym_isomorphic_strings"](entry).thinking.splitlines()[2:] == ["f-b:b o-a:a o-r:a no"]
    entry = {"metadata": {"words": ["abc", "xyx"]}}
    assert solve["gym_isomorphic_strings"](entry).thinking.splitlines()[2:] == [
        "a-x:x b-y:y c-x:x fits",
        "x-a:a y-b:b x-c:a no",
    ]
    entry = {"metadata": {"ransom_note": "noon", "magazine": "onion"}}
    assert solve["gym_ransom_note"](entry) == gym_task.Solution(
        thinking="n1 o1 o2 n2\no1 n1 i1 o2 n2\nn:2=2 o:2=2", answer="True"
    )
    entry = {"metadata": {"numbers": [36, 64]}}
    assert solve["gym_gcd"](entry).thinking.splitlines() == [
        "64/36:1;36*1=36;64-36:6>3;4-6-0=8-10,8;6-3-1=2-00,28;=28",
        "36/28:1;28*1=28;36-28:3>2;6-8-0=8-10,8;3-2-1=0-00,08;=8",
        "28/8:3;8*3=24;28-24:2=2,8>4;8-4-0=4-00,4;2-2-0=0-00,04;=4",
        "8/4:2;4*2=8;8-8=0",
    ]
    entry = {"question": "from 09:46:50 to 16:19:23"}
    assert solve["gym_time_intervals"](entry).thinking.splitlines() == [
        "seconds 50 to 23;23<50;23+60:3+0+0=03,3;2+6+0=08,83;=83;83-50:8>5;3-0-0=3-00,3;8-5-0=3-00,33;=33",
        "minutes 46 to 19;46+01:6+1+0=07,7;4+0+0=04,47;=47;19<47;19+60:9+0+0=09,9;1+6+0=07,79;=79;"
        "79-47:7>4;9-7-0=2-00,2;7-4-0=3-00,32;=32",
        "hours 9 to 16;9+1=10;16-10:1=1,6>0;6-0-0=6-00,6;1-1-0=0-00,06;=6",
    ]
    entry = {"metadata": {"num1": (2.0, -3.0), "num2": (-4.0, 5.0), "operation": "*"}}
    assert solve["gym_complex_arithmetic"](entry).answer == "7.0 + 22.0i"
    entry = {"metadata": {"string": "10010"}}
    assert solve["gym_binary_alternation"](entry).answer == "1"


def test_the_last_line_of_a_reply_counts() -> None:
    task = TASKS["gym_spell_backward"]()
    example = take(task, "test", 0, 1)[0]
    answer = example.reference["answer"]
    for content in (f"Let me see.\n{answer}", f"{answer}.", f"Answer: {answer}", f"  {answer}\n"):
        assert task.score(example, reply(content)).value == 1, content
    nearly = task.score(example, reply(answer[:-1] + "#"))
    assert nearly.value == 0
    assert 0 < nearly.parts["gym"] < 1
    assert answer in nearly.why


def test_without_reasoning_gym_a_task_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ValueError, match=r"gym_aiw needs .* pip install -c constraints.txt -e '\.\[train\]'"):
        TASKS["gym_aiw"]()


def test_references_survive_json() -> None:
    import json

    task = TASKS["gym_needle_haystack"]()
    example: Example = take(task, "test", 0, 1)[0]
    copied = dataclasses.replace(example, reference=json.loads(json.dumps(example.reference)))
    assert task.score(copied, example.demonstration).value == 1
