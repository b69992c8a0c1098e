"""Tool calls: gold is gold, what is to be copied can be copied, and tools of the test split have names of their own."""

import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from dialogue_proofs import prove_grammar, prove_round_trip, prove_scores, prove_splits, take

from fulmen.chat.message import Message, ToolCall
from fulmen.tasks.calls import TASKS
from fulmen.tasks.calls.cases import CASES
from fulmen.tasks.calls.tools import deeds_and_things, families, labels
from fulmen.tasks.lexicon import split_of
from fulmen.tasks.wording import plural, says

TASK, CHOICE, SESSION = (TASKS[name]() for name in ("tool_calls", "tool_choice", "tool_sessions"))
splits = pytest.mark.parametrize("split", ["train", "test"])
SPELT = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}


@splits
def test_task_proves_itself(split):
    for seed in range(12):
        examples = take(TASK, split, seed, 100)
        prove_scores(TASK, examples)
        prove_round_trip(examples)


def test_splits_share_no_problem():
    prove_splits(TASK, 2000)


@splits
def test_demonstrations_keep_to_the_schemas(split):
    for example in take(TASK, split, 3, 300):
        prove_grammar(example)


@splits
def test_calls_name_given_tools_and_hold_what_is_required(split):
    for example in take(TASK, split, 4, 3000):
        tools = {tool.name: tool.parameters for tool in example.tools}
        invented = set(tools) - ({"calculator", "search_documents", "read_file"} if split == "train" else set())
        assert len(tools) == len(example.tools)
        assert len(invented) <= 5
        for tool in example.tools:
            assert re.fullmatch(r"[a-zA-Z0-9_]{1,64}", tool.name)
            assert 1 <= len(tool.parameters["properties"]) <= 4
        for call in example.reference["calls"]:
            schema = tools[call["name"]]
            assert set(schema["required"]) <= set(call["arguments"]) <= set(schema["properties"])


def prove_thought(said, tools, reply):
    """The thought of a reply names what the request says and the schemas hold, and the calls follow from it."""
    schemas = {tool.name: tool.parameters for tool in tools}
    descriptions = {f"{tool.name} ({tool.description})": tool.name for tool in tools}
    thought = reply.thinking.split("\n")
    made: list[tuple[str, dict[str, str]]] = []
    while thought:
        deed = thought.pop(0)
        assert deed in said
        verdicts = []
        while thought and thought[0].startswith("fits: "):
            verdicts.append(thought.pop(0).removeprefix("fits: "))
        gone_through = [
            descriptions.get(shown, shown) for shown in (verdict.removesuffix(" no") for verdict in verdicts)
        ]
        if verdicts[-1] == "none" or verdicts[-1].endswith(" no"):
            assert gone_through in (["none"], list(schemas))
            assert not reply.tool_calls
            return
        name = gone_through[-1]
        assert gone_through == list(schemas)[: len(gone_through)]
        assert all(verdict.endswith(" no") for verdict in verdicts[:-1])
        takes = thought.pop(0).removeprefix("takes: ").split(", ")
        assert [take.split()[0] for take in takes] == list(schemas[name]["properties"])
        for hint, schema in zip(takes, schemas[name]["properties"].values(), strict=True):
            told = " ".join(schema.get("enum", [])) or schema.get("description", schema["type"])
            assert told.startswith(hint.partition(" ")[2])
        values: dict[str, list[str]] = {}
        while line := re.fullmatch(r"(.+): (\w+=.+)", thought[0]):
            phrase, assigned = line.groups()
            assert phrase in said
            for part in assigned.split(", "):
                values.setdefault(part.split("=")[0], []).append(part.split("=")[1])
            del thought[0]
        needs = thought.pop(0).removeprefix("needs: ").split(", ")
        assert [need.removesuffix(" no") for need in needs] == (schemas[name]["required"] or ["none"])
        lacking = [need.removesuffix(" no") for need in needs if need.endswith(" no")]
        assert lacking == [need for need in schemas[name]["required"] if need not in values]
        if lacking:
            assert not thought
            assert not reply.tool_calls
            assert lacking[0].replace("_", " ") in reply.content
            return
        for index in range(max(map(len, values.values()), default=1)):
            made.append((name, {key: (given * 2)[index] for key, given in values.items()}))
    for (name, given), call in zip(made, reply.tool_calls, strict=True):
        arguments = json.loads(call.arguments)
        spelt = {key: v if isinstance(v, str) else json.dumps(v) for key, v in arguments.items()}
        assert (name, given) == (call.name, spelt)


@splits
def test_thoughts_go_from_the_request_to_the_call(split):
    for example in take(TASK, split, 6, 2000):
        said = " ".join(message.content for message in example.messages if message.role == "user")
        prove_thought(said, example.tools, example.demonstration)


@splits
def test_every_turn_of_a_session_is_demonstrated(split):
    examples = take(SESSION, split, 1, 600)
    prove_scores(SESSION, examples)
    kinds = Counter()
    for example in examples:
        messages = [*example.messages, example.demonstration]
        said, names = "", {tool.name for tool in example.tools}
        for message, before in zip(messages, [None, *messages], strict=False):
            if message.role == "user":
                said += message.content + "\n"
            elif message.role == "tool":
                assert before.tool_calls[0].id == message.tool_call_id
            elif before.role == "tool":
                kinds["answer"] += 1
                assert message.content
            else:
                prove_thought(said, example.tools, message)
                assert {call.name for call in message.tool_calls} <= names
                last = message.thinking.split("\n")[-1]
                kinds["call" if message.tool_calls else "lacks" if last.startswith("needs: ") else last[-4:]] += 1
        assert example.messages[-1].role == "user"
    shares = {kind: count / kinds.total() for kind, count in kinds.items()}
    assert shares["call"] > 0.5
    assert shares["lacks"] > 0.1
    assert shares["answer"] > 0.1
    assert shares.pop("none") > 0.02
    assert sum(share for kind, share in shares.items() if kind.endswith(" no")) > 0.07


@splits
def test_sessions_call_built_in_tools_as_well(split):
    messages = [message for example in take(SESSION, split, 1, 200) for message in example.messages]
    called = Counter(call.name for message in messages for call in message.tool_calls)
    assert called["calculator"] > 10
    assert called["search_documents"] > 10
    assert called["calculator"] + called["search_documents"] < 0.2 * called.total()


def test_sessions_of_the_splits_share_no_problem():
    prove_splits(SESSION, 300)


def test_a_tool_that_its_name_does_not_tell_is_thought_of_with_its_description():
    replies = [example.demonstration for example in take(TASK, "train", 8, 1000)]
    described = [reply for reply in replies if re.search(r"^fits: \S+ \(.+\.\)$", reply.thinking, re.M)]
    assert len(described) > 20


def test_some_parameters_that_can_be_left_out_have_a_default_of_their_type():
    types = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
    seen = set()
    for example in take(TASK, "train", 8, 500):
        for schema in (tool.parameters for tool in example.tools):
            for name, parameter in schema["properties"].items():
                if "default" in parameter:
                    assert name not in schema["required"]
                    assert isinstance(parameter["default"], types[parameter["type"]])
                    assert parameter["default"] in parameter.get("enum", [parameter["default"]])
                    seen.add(parameter["type"])
    assert seen == types.keys()


def test_some_requests_are_for_several_things():
    said = [example.messages[0].content for example in take(TASK, "train", 8, 1000)]
    tools = {tool.name for example in take(TASK, "train", 8, 1000) for tool in example.tools}
    things = deeds_and_things("train")[1]
    several = {plural(thing) for thing in things} - set(things)
    assert sum(name.split("_")[-1] in several for name in tools) > 100
    assert sum(bool(several & set(re.findall("[a-z]+", text))) for text in said) > 100


@splits
def test_choices_prove_themselves_and_name_what_is_given(split):
    examples = take(CHOICE, split, 2, 500)
    prove_scores(CHOICE, examples)
    prove_round_trip(examples)
    answers = []
    for example in examples:
        lines = example.demonstration.content.split("\n")
        said = example.messages[0].content
        for line in lines:
            assert line.removeprefix("fits: ").removesuffix(" no") in said
        deeds = [line for line in lines if not line.startswith("fits: ")]
        for deed, answer in zip(deeds, example.reference, strict=True):
            assert answer == "none" or f"\nfits: {answer}\n" in f"{example.demonstration.content}\n"
            assert answer == "none" or deed.split()[0].lower() in answer.lower()
        answers += example.reference
    assert 0.15 < answers.count("none") / len(answers) < 0.4


def test_built_in_tools_stand_beside_others_in_training_alone():
    """Their own tasks always want them."""
    for split, share in (("train", 0.05), ("test", 0.0)):
        examples = take(TASK, split, 7, 2000)
        searches = [example for example in examples if any(t.name == "search_documents" for t in example.tools)]
        assert len(searches) / len(examples) >= share
        assert bool(searches) == bool(share)
        assert not any("search_documents" in str(example.reference["calls"]) for example in searches)


def test_a_choice_counts_deeds():
    example = next(e for e in take(CHOICE, "test", 0, 50) if len(e.reference) == 4 and e.reference[-1] != "none")
    content = example.demonstration.content.rpartition("\n")[0]
    score = CHOICE.score(example, Message(role="assistant", content=content))
    assert (score.value, score.parts) == (0, {"deeds": 0.75})


def test_choices_of_the_splits_share_no_problem():
    prove_splits(CHOICE, 500)


@splits
def test_values_stand_in_the_request(split):
    for example in take(TASK, split, 5, 3000):
        said = " ".join(message.content for message in example.messages if message.role == "user")
        schemas = {tool.name: tool.parameters["properties"] for tool in example.tools}
        for call in example.reference["calls"]:
            for name, value in call["arguments"].items():
                if isinstance(value, bool):
                    assert name.replace("_", " ") in said
                elif isinstance(value, int | float):
                    assert str(value) in said or any(
                        SPELT[w] == value for w in re.findall("[a-z]+", said) if w in SPELT
                    ), example
                elif "enum" in schemas[call["name"]][name]:
                    assert value in schemas[call["name"]][name]["enum"]
                else:
                    assert value in said, (value, said)


def words_of(split):
    tools = [tool for seed in range(4) for example in take(TASK, split, seed, 3000) for tool in example.tools]
    names = {tool.name for tool in tools}
    return names, {name for tool in tools for name in tool.parameters["properties"]}


def test_tools_of_the_test_split_are_unseen():
    train_names, train_parameters = words_of("train")
    test_names, test_parameters = words_of("test")
    assert len(train_names) > 5000
    assert len(test_names) > 3000
    assert not {name.lower() for name in train_names} & {name.lower() for name in test_names}
    assert not train_parameters & test_parameters
    assert len(test_parameters) > 200
    for one, other in zip(deeds_and_things("train"), deeds_and_things("test"), strict=True):
        assert not set(one) & set(other)
        assert len(other) > 40
    used = {word for names in labels("train").values() for name in names for word in name.split()[:1]}
    assert not used & test_parameters
    assert all(names for names in labels("test").values())
    assert not {f.name for f in families("train")} & {f.name for f in families("test")}


def test_values_of_the_test_split_are_unseen():
    def copied(split):
        calls = [call for example in take(TASK, split, 1, 4000) for call in example.reference["calls"]]
        return {value for call in calls for value in call["arguments"].values() if isinstance(value, str)}

    names = {value for value in copied("test") if re.fullmatch(r"[A-Z][a-z]+", value)}
    seen = copied("train")
    shared = names & seen
    assert len(names) > 100
    assert shared <= {
        "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
    }  # fmt: skip


def test_every_situation_occurs():
    examples = take(TASK, "test", 2, 2000)
    counts = [len(example.reference["calls"]) for example in examples]
    assert 0.15 < counts.count(0) / 2000 < 0.35
    assert counts.count(2) > 100
    assert sum(len(example.messages) == 3 for example in examples) > 50
    for line in ("fits: none", r"fits: .+ no", r"needs: .+ no"):
        assert sum(bool(re.search(f"^{line}$", e.demonstration.thinking, re.M)) for e in examples) > 40
    assert sum(CASES.values()) == 100


@splits
def test_requests_of_families_name_every_parameter(split):
    for family in families(split):
        for request in family.requests:
            assert set(re.findall(r"{(\w+)}", request)) == {parameter.name for parameter in family.parameters}, request


def first_call():
    return next(e for e in take(TASK, "test", 0, 100) if len(e.reference["calls"]) == 1)


def test_almost_right_calls_are_wrong():
    example = first_call()
    (call,) = example.demonstration.tool_calls
    given = json.loads(call.arguments)

    def judged(*calls):
        return TASK.score(example, Message(role="assistant", tool_calls=calls))

    assert judged(replace(call, arguments=json.dumps(given, indent=1, sort_keys=True))).value == 1
    for arguments in ("{}", "[1", json.dumps({**given, "more": 1}), "[" * 100000):
        score = judged(replace(call, arguments=arguments))
        assert (score.value, score.parts["decision"], score.parts["name"]) == (0, 1, 1)
    score = judged(replace(call, name=call.name + "x"))
    assert (score.value, score.parts["decision"], score.parts["name"]) == (0, 1, 0)
    assert judged(call, call).value == 0
    assert judged().parts["decision"] == 0


def test_numbers_are_compared_as_json():
    example = first_call()
    reference = {"calls": [{"name": "f", "arguments": {"n": 4, "b": True}}]}
    example = replace(example, reference=reference)

    def value(arguments):
        call = ToolCall(id="", name="f", arguments=arguments)
        return TASK.score(example, Message(role="assistant", tool_calls=(call,))).value

    assert value('{"b": true, "n": 4.0}') == 1
    assert value('{"b": 1, "n": 4}') == value('{"b": true, "n": "4"}') == value('{"b": true, "n": 4.5}') == 0


@pytest.mark.parametrize(
    ("text", "phrase", "said"),
    [
        ("It is 42.", "42", True),
        ("42", "42", True),
        ("It is 42.5", "42", False),
        ("It is 1,042", "42", False),
        ("-42", "42", False),
        ("No TOOL fits", "no tool", True),
        ("no tools", "no tool", False),
        ("(Paris)", "Paris", True),
        ("", "Paris", False),
    ],
)
def test_phrases_are_found_whole(text, phrase, said):
    assert says(text, phrase) == said


def test_words_belong_to_one_split_for_good():
    assert [split_of(word) for word in ("Harold", "harold", "city", "Paris")] == ["train", "train", "test", "train"]
