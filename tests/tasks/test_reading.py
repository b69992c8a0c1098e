"""Reading: every answer follows from the sentences of its text, checked by reading them back."""

import re
from dataclasses import replace

import pytest
from dialogue_proofs import prove_round_trip, prove_scores, prove_splits, take

from fulmen.chat.message import Message
from fulmen.tasks.reading import TASKS
from fulmen.tasks.reading.questions import KINDS
from fulmen.tasks.reading.reading_task import ReadingTask
from fulmen.tasks.reading.relations import RELATIONS

splits = pytest.mark.parametrize("split", ["train", "test"])
ALL = [relation for relations in RELATIONS.values() for relation in relations]


def stated(text):
    """Facts that the sentences of a text state, read by turning the forms of sentences around."""
    facts = set()
    for sentence in re.split(r"(?<=[.?])\s+", text.removeprefix("Text: ")):
        for relation in ALL:
            for form in relation.sentences:
                pattern = re.escape(form).replace(r"\{s\}", "(?P<s>.+)").replace(r"\{o\}", "(?P<o>.+)")
                match = re.fullmatch(pattern.replace(r"\{an_o\}", "an? (?P<o>.+)"), sentence, re.IGNORECASE)
                if match:
                    facts.add(f"{relation.name} of {match['s']}: {match['o']}".lower())
    return facts


@splits
@pytest.mark.parametrize("name", TASKS)
def test_task_proves_itself(name, split):
    task = TASKS[name]()
    assert task.name == name
    for seed in range(4):
        examples = take(task, split, seed, 60)
        prove_scores(task, examples)
        prove_round_trip(examples)


@pytest.mark.parametrize("name", TASKS)
def test_splits_share_no_problem(name):
    prove_splits(TASKS[name](), 300)


@splits
def test_steps_stand_in_the_text(split):
    for example in take(TASKS["reading"](), split, 1, 1500):
        facts = stated(example.messages[0].content)
        assert len(facts) >= 3
        steps = example.demonstration.thinking.lower().split("; ")
        if steps[0].endswith("not said"):
            assert not any(fact.startswith(steps[0].removesuffix("not said")) for fact in facts)
            continue
        for step in steps:
            if " of " in step:
                assert step in facts, (step, facts)
        if len(steps) == 2:
            assert steps[1].split(" of ")[1].split(":")[0] == steps[0].split(": ")[1]


@splits
def test_comparisons_are_right(split):
    for example in take(TASKS["reading_comparison"](), split, 1, 500):
        first, second, sign = example.demonstration.thinking.split("; ")
        one, other = (int(step.split(": ")[1]) for step in (first, second))
        assert sign == f"{one} {'>' if one > other else '<'} {other}"
        question = example.messages[0].content
        more = bool(re.search(r"\b(older|taller|more|heavier|later)\b[^.]*\?", question))
        assert more != bool(re.search(r"\b(younger|shorter|less|lighter|fewer|earlier)\b[^.]*\?", question))
        right = first if (one > other) == more else second
        assert right.split(" of ", 1)[1].split(":")[0] == example.demonstration.content


def test_values_of_other_facts_are_wrong():
    task = ReadingTask(("lookup",))
    example = next(e for e in take(task, "test", 0, 50) if e.reference["wrong"])
    answer, other = example.reference["answer"], example.reference["wrong"][0]
    assert task.score(example, Message(role="assistant", content=f"It is {answer}.")).value == 1
    for content in (other, f"{answer} or {other}", f"{answer}x", "The text does not say."):
        assert task.score(example, replace(example.demonstration, content=content)).value == 0


def test_unknown_kinds_are_refused():
    for kinds in ((), ("lookup", "riddle")):
        with pytest.raises(ValueError, match="each must be one of lookup, two_hops, comparison, not_said"):
            ReadingTask(kinds)
    assert len(KINDS) == 4
