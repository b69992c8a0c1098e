import dataclasses
import itertools
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from fulmen.chat.message import Message, ToolCall, ToolSpec
from fulmen.tasks.task import Example, Score
from fulmen.trace import TrainingSample
from fulmen.train.configuration import ChatData, StageTable, TaskData, TextData
from fulmen.train.data.conversations import EarlierTurns
from fulmen.train.data.files import Writing
from fulmen.train.data.mixture import Mixture
from fulmen.train.data.opening import open_data
from fulmen.train.data.problems import ProblemSource
from fulmen.train.data.retelling import Retelling
from fulmen.train.data.store import Document, write_store
from fulmen.train.data.stored import StoredSource
from fulmen.train.data.vocabulary import VocabularySource
from fulmen.train.settings import OptimizerSettings


class Addition:
    """Sums whose demonstrations grow with the seed's whim."""

    name = "addition"

    def examples(self, split, seed):
        draw = random.Random(f"{split} {seed}")
        while True:
            a, b = draw.randrange(100), draw.randrange(100)
            yield Example(
                messages=(Message(role="user", content=f"{a} + {b}?"),),
                reference=a + b,
                demonstration=Message(role="assistant", content=str(a + b), thinking="hm " * draw.randrange(8)),
            )

    def score(self, example, reply):
        return Score(value=float(reply.content == str(example.reference)))


class Constant:
    """A source of samples of one length that counts up."""

    def __init__(self, length):
        self.length, self.drawn = length, 0

    def next(self):
        self.drawn += 1
        ids = (self.drawn,) * self.length
        return TrainingSample(token_ids=ids, mask=(True,) * self.length, weights=(1.0,) * self.length)

    def state_dict(self):
        return {"drawn": self.drawn}

    def load_state_dict(self, state):
        self.drawn = state["drawn"]


def problems(writing, *, length=200, train_on="replies", seed=5, later_turns=0.0):
    earlier = EarlierTurns({"addition": (Addition(), 1.0)}, fraction=later_turns, seed=seed)
    return ProblemSource(
        Addition(),
        writing,
        length=length,
        train_on=train_on,
        keep_thinking=False,
        seed=seed,
        earlier=earlier,
        retelling=Retelling(writing.tokenizer, fraction=0.5),
    )


@pytest.fixture(scope="module")
def writing(tokenizer_folder):
    return Writing.load(tokenizer_folder)


def store_of(folder, lengths):
    """Documents whose token ids say where they are: no id twice."""
    ids = itertools.count()
    documents = [Document(ids=tuple(itertools.islice(ids, n)), trained=(False, *[True] * (n - 1))) for n in lengths]
    return write_store(folder / "store", documents, vocab_size=100_000)


def draws(source, count):
    return [source.next() for _ in range(count)]


def open_stage(folder, writing, *, texts=60, length=97, **options):
    """Texts, conversations and problems; `options` are those of the problems."""
    text, chats = folder / "text.jsonl", folder / "chats.jsonl"
    text.write_text("".join(json.dumps({"text": f"number {i} " * (i % 37 + 1)}) + "\n" for i in range(texts)))
    reply = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there."}]
    chats.write_text((json.dumps({"messages": reply}) + "\n") * 5)
    stage = StageTable(
        name="s", length=length, tokens=1000, tokens_per_step=length, tokens_per_micro_batch=length,
        optimizer=OptimizerSettings(learning_rate=1e-3),
        data=(
            TextData(path=text, weight=3.0),
            ChatData(path=chats, weight=0.5),
            TaskData(**{"tasks": {"addition": 2.0, "same": 1.0}, "weight": 1.5} | options),
        ),
    )  # fmt: skip
    tasks = {"addition": Addition, "same": Addition}
    return open_data(stage, writing, tasks, seed=1, cache=folder / "cache")


@pytest.mark.parametrize("lengths", [[2], [7], [8], [9], [23, 2, 8, 9, 64, 3, 101]])
def test_every_token_of_a_document_is_predicted_once_an_epoch(tmp_path, lengths):
    source = StoredSource(store_of(tmp_path, lengths), length=8, too_long="cut", seed=0)
    for _ in range(3):
        samples = draws(source, source.num_samples)
        targets = [t for s in samples for t, wanted in zip(s.token_ids, s.mask, strict=True) if wanted]
        firsts = {sum(lengths[:i]) for i in range(len(lengths))}
        assert sorted(targets) == sorted(set(range(sum(lengths))) - firsts)
        for sample in samples:
            assert len(sample.token_ids) <= 8
            assert not sample.mask[0]
            assert sample.token_ids == tuple(range(sample.token_ids[0], sample.token_ids[0] + len(sample.token_ids)))
            assert sample.weights == tuple(map(float, sample.mask))


@pytest.mark.parametrize("keep_thinking", [False, True])
def test_earlier_replies_are_trained_where_they_keep_their_thinking(writing, keep_thinking):
    class Dialogue(Addition):
        def examples(self, split, seed):
            for example in super().examples(split, seed):
                earlier = Message(role="assistant", thinking="easy", content="fine")
                yield dataclasses.replace(example, messages=(*example.messages, earlier, *example.messages))

    stage = StageTable(
        name="s", length=200, tokens=1000, tokens_per_step=200, tokens_per_micro_batch=200,
        optimizer=OptimizerSettings(learning_rate=1e-3),
        data=(TaskData(tasks={"dialogue": 1.0}, keep_thinking=keep_thinking),),
    )  # fmt: skip
    sample = open_data(stage, writing, {"dialogue": Dialogue}, seed=1, cache=Path()).next()
    trained = [id for id, wanted in zip(sample.token_ids, sample.mask, strict=True) if wanted]
    assert ("easy" in writing.tokenizer.decode(trained)) == keep_thinking
    assert ("fine" in writing.tokenizer.decode(trained)) == keep_thinking


def test_two_processes_write_the_same_store_at_the_same_moment(tmp_path, monkeypatch):
    document = Document(ids=(1, 2, 3), trained=(False, True, True))
    rename = Path.rename

    def overtaken(path, target):
        monkeypatch.undo()
        write_store(tmp_path / "other", [document], vocab_size=9)
        rename(tmp_path / "other", target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    store = write_store(tmp_path / "store", [document], vocab_size=9)
    assert store.tokens.tolist() == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_epochs_differ_in_order_only_and_seeds_decide(tmp_path):
    store = store_of(tmp_path, [5] * 50)

    def epochs(seed):
        source = StoredSource(store, length=8, too_long="cut", seed=seed)
        return [[s.token_ids for s in draws(source, 50)] for _ in range(2)]

    first, second = epochs(0)
    assert first != second
    assert sorted(first) == sorted(second)
    assert epochs(0) == [first, second]
    assert epochs(1)[0] != first


def test_documents_too_long_to_be_whole(tmp_path):
    store = store_of(tmp_path, [8, 9, 3, 100])
    with pytest.warns(UserWarning, match="left out 2 of 4 documents: longer than 8 tokens"):
        source = StoredSource(store, length=8, too_long="leave_out", seed=0)
    assert {len(s.token_ids) for s in draws(source, 4)} == {8, 3}
    assert source.num_samples == 2
    with pytest.raises(ValueError, match="every document is longer than 2 tokens; the shortest has 3"):
        StoredSource(store, length=2, too_long="leave_out", seed=0)
    with pytest.raises(ValueError, match="length is 1; a sample needs"):
        StoredSource(store, length=1, too_long="cut", seed=0)


@pytest.mark.parametrize("drawn", [0, 1, 63, 64, 65, 128, 200])
def test_every_source_resumes_exactly(tmp_path, writing, drawn):
    def sources():
        store = store_of(tmp_path, [23, 2, 8, 9, 64, 3, 101])
        return [
            StoredSource(store, length=8, too_long="cut", seed=0),
            problems(writing),
            problems(writing, later_turns=0.5),
            VocabularySource(writing, length=200, seed=5),
            open_stage(tmp_path, writing),
        ]

    for source, other in zip(sources(), sources(), strict=True):
        draws(source, drawn)
        state = json.loads(json.dumps(source.state_dict()))
        expected = draws(source, 150)
        draws(other, 10)  # wherever it was
        other.load_state_dict(state)
        assert draws(other, 150) == expected
        assert other.state_dict() == source.state_dict()


def test_resuming_with_other_data_is_refused(tmp_path, writing):
    state = open_stage(tmp_path, writing).state_dict()
    shorter = StoredSource(store_of(tmp_path, [40]), length=8, too_long="cut", seed=0)
    longer = StoredSource(store_of(tmp_path, [40]), length=9, too_long="cut", seed=0)
    with pytest.raises(ValueError, match="the data is not what the checkpoint was trained on"):
        longer.load_state_dict(shorter.state_dict())
    with pytest.raises(ValueError, match=r"differ in data\[1\], data\[2\]"):
        Mixture({"data[0]": (shorter, 1.0)}).load_state_dict(state)


def test_files_that_have_changed_are_named(tmp_path, writing):
    before = open_stage(tmp_path, writing, texts=60)
    draws(before, 5)
    state = json.loads(json.dumps(before.state_dict()))
    with pytest.raises(
        ValueError, match=r"stage s, data\[0\], \S+/text.jsonl: the data is not what the checkpoint was"
    ):
        open_stage(tmp_path, writing, texts=80).load_state_dict(state)
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    moved = open_stage(tmp_path.with_name("elsewhere"), writing, texts=60)
    moved.load_state_dict(state)
    assert draws(moved, 50) == draws(before, 50)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tasks": {"addition": 3.0, "same": 1.0}}, "tasks.addition was 2.0 in the checkpoint and is 3.0 now"),
        ({"tasks": {"addition": 2.0}}, "tasks.same was 1.0 in the checkpoint and is absent now"),
        ({"weight": 2.0}, "weight was 1.5"),
        ({"train_on": "all"}, "train_on was 'replies' in the checkpoint and is 'all' now"),
        ({"later_turns": 0.25}, "later_turns was 0.0"),
        ({"keep_thinking": True}, "keep_thinking was False"),
        ({"retold": ("same",)}, "retold was [] in the checkpoint and is ['same'] now"),
    ],
)
def test_settings_that_have_changed_are_named(tmp_path, writing, changes, named):
    state = json.loads(json.dumps(open_stage(tmp_path, writing).state_dict()))
    with pytest.raises(
        ValueError, match=re.escape(f"stage s, data[2]: {named}") + ".* Restore that until the stage is"
    ):
        open_stage(tmp_path, writing, **changes).load_state_dict(state)
    open_stage(tmp_path, writing).load_state_dict(state)


def test_a_checkpoint_of_before_settings_were_written_goes_on(tmp_path, writing):
    source = open_stage(tmp_path, writing)
    draws(source, 9)
    state = source.state_dict()
    state |= {name: {"tokens": entry["tokens"], "state": entry["state"]["position"]} for name, entry in state.items()}
    other = open_stage(tmp_path, writing)
    other.load_state_dict(json.loads(json.dumps(state)))
    assert draws(other, 50) == draws(source, 50)


def test_the_length_of_a_stage_is_one_of_its_settings(tmp_path, writing):
    state = open_stage(tmp_path, writing).state_dict()
    with pytest.raises(ValueError, match=r"stage s, data\[0\], \S+/text.jsonl: length was 97 .* is 98 now"):
        open_stage(tmp_path, writing, length=98).load_state_dict(state)


def test_a_mixture_keeps_its_shares_in_tokens_at_every_point():
    lengths, weights = {"a": 7, "b": 1000, "c": 131}, {"a": 0.3, "b": 2.0, "c": 0.7}
    mixture = Mixture({name: (Constant(n), weights[name]) for name, n in lengths.items()})
    seen = Counter()
    for _ in range(3000):
        ids = mixture.next().token_ids
        seen[next(name for name, n in lengths.items() if n == len(ids))] += len(ids)
        for name, weight in weights.items():
            assert abs(seen[name] - weight / 3.0 * seen.total()) <= 2 * 1000
    for name, weight in weights.items():
        assert seen[name] / seen.total() == pytest.approx(weight / 3.0, abs=0.01)


def test_a_stage_mixes_files_and_tasks_in_their_shares(tmp_path, writing):
    source = open_stage(tmp_path, writing)
    draws(source, 3000)
    total = sum(source.tokens.values())
    for name, share in {"data[0]": 0.6, "data[1]": 0.1, "data[2]": 0.3}.items():
        assert source.tokens[name] / total == pytest.approx(share, abs=0.01)
    tasks = source.state_dict()["data[2]"]["state"]["position"]
    assert tasks["addition"]["tokens"] / (2 * tasks["same"]["tokens"]) == pytest.approx(1.0, abs=0.01)


def test_problems_train_the_reply_and_the_end_token(writing, tokenizer):
    sample = problems(writing).next()
    trained = [i for i, wanted in zip(sample.token_ids, sample.mask, strict=True) if wanted]
    text = tokenizer.decode(trained, skip_special=False)
    assert text.startswith("<think>\n")
    assert text.endswith("<end_of_sentence>")
    assert text.count("end_of_sentence") == 1
    everything = problems(writing, train_on="all").next()
    assert everything.token_ids == sample.token_ids
    assert everything.mask == (False, *[True] * (len(sample.mask) - 1))
    other = problems(writing, train_on="all", seed=6)
    assert other.next().token_ids != sample.token_ids


def test_blocks_of_problems_are_all_different(writing):
    source = problems(writing)
    assert len({s.token_ids for s in draws(source, 192)}) > 180


def test_problems_come_after_others_and_only_the_last_is_trained(writing, tokenizer):
    alone = draws(problems(writing), 300)
    later = draws(problems(writing, later_turns=0.5), 300)
    joined = [(one, whole) for one, whole in zip(alone, later, strict=True) if one != whole]
    assert 100 < len(joined) < 200
    turns = Counter()
    for one, whole in joined:
        written = [tokenizer.decode(ids, skip_special=False) for ids in (one.token_ids, whole.token_ids)]
        reply = written[0][written[0].rindex("<beginning_of_sentence>user") :]
        assert written[1].endswith(reply)  # the same problem, after others
        assert written[1].count("<think>") == 1
        assert sum(whole.mask) == sum(one.mask)
        turns[written[1].count("<beginning_of_sentence>user")] += 1
    assert min(turns) == 2
    assert max(turns) > 3


def test_a_problem_that_is_too_long_after_others_stands_alone(writing):
    alone = draws(problems(writing), 100)
    longest = max(len(sample.token_ids) for sample in alone)
    later = draws(problems(writing, length=longest, later_turns=1.0), 100)
    kept = [one == whole for one, whole in zip(alone, later, strict=True)]
    assert 0 < sum(kept) < 100


def test_earlier_turns_with_tools_stand_before_calls_only():
    def example(content, *names, called=False):
        call = (ToolCall(id="call_1", name=names[0], arguments="{}"),) if called else ()
        return Example(
            messages=(Message(role="user", content=content),),
            reference="",
            demonstration=Message(role="assistant", content=f"of {content}", tool_calls=call),
            tools=tuple(ToolSpec(name=name, description=content, parameters={}) for name in names),
        )

    class Fixed:
        def __init__(self, *examples):
            self.given = examples

        def examples(self, split, seed):
            return itertools.cycle(self.given)

    short = Fixed(example("sum"), example("search", "a", "b"), example("call", "a", called=True), example("x" * 900))
    earlier = EarlierTurns({"short": (short, 1.0)}, fraction=1.0, seed=3)
    contents, tools = set(), set()
    for key in range(50):
        with_tools = earlier.lead(example("last", "b", "c", called=True), key=str(key))
        contents |= {message.content for message in with_tools.messages}
        tools |= {(tool.name, tool.description) for tool in with_tools.tools}
        for names in ((), ("b", "c")):
            without = earlier.lead(example("last", *names), key=str(key))
            assert tuple(tool.name for tool in without.tools) == names
            assert {message.content for message in without.messages} <= {"sum", "of sum", "last"}
    assert contents == {"sum", "of sum", "search", "of search", "last"}
    assert tools == {("a", "search"), ("b", "last"), ("c", "last")}
    system = example("last")
    system = dataclasses.replace(system, messages=(Message(role="system", content="Be brief."), *system.messages))
    assert all(earlier.lead(system, key=str(key)) is system for key in range(9))


def test_problems_that_are_too_long_are_counted(writing):
    source = problems(writing, length=45)
    with pytest.warns(UserWarning, match="addition has problems of more than 45 tokens, which are left out"):
        assert all(len(s.token_ids) <= 45 for s in draws(source, 100))
    assert source.left_out == source.state_dict()["left_out"] > 0
    assert source.state_dict()["drawn"] == 100 + source.left_out
    hopeless = problems(writing, length=5)
    with (
        pytest.raises(ValueError, match="100 problems of addition in a row were longer than 5 tokens; the shortest"),
        pytest.warns(UserWarning, match="left out"),
    ):
        hopeless.next()


def test_unknown_tasks_are_named(tmp_path, writing):
    stage = StageTable(
        name="s", length=97, tokens=1000, tokens_per_step=97, tokens_per_micro_batch=97,
        optimizer=OptimizerSettings(learning_rate=1e-3), data=(TaskData(tasks={"additon": 1.0}),),
    )  # fmt: skip
    with pytest.raises(ValueError, match="no task is called 'additon': did you mean 'addition'"):
        open_data(stage, writing, {"addition": Addition}, seed=0, cache=tmp_path)
