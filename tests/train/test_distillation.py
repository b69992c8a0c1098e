"""Conversion learns: the start is measured, each layer comes near its teacher's, then the whole; and a run resumes."""

import itertools
import json
from statistics import mean

import pytest
import torch
from tiny_teachers import LLAMA, make_teacher, random_ids

from fulmen.model.cache import ForwardBatch
from fulmen.runlog import read_metrics
from fulmen.train.calibration import calibrate
from fulmen.train.distillation import (
    attention_parameters,
    log_perplexity,
    train_only,
    transfer_attention,
    transfer_logits,
)
from fulmen.train.distillation_run import Distillation, DistillationSettings
from fulmen.train.evidence import TrainingError
from fulmen.train.hybridize import decoder_layers, hybrid_config, student_from, watch_attention
from fulmen.train.plain_text import PlainText
from fulmen.train.run_folder import METRICS
from fulmen.train.settings import CheckpointSettings

HYBRID = hybrid_config(LLAMA, keep_softmax=[3])
EXPERTS = hybrid_config(LLAMA, keep_softmax=[3], num_experts=3, experts_per_token=2)


@pytest.fixture
def teacher():
    return make_teacher()


@pytest.fixture
def sequences():
    return random_ids(96).view(2, 48)


def make_student(teacher, config=HYBRID):
    student = student_from(teacher, config)
    calibrate(teacher, student, random_ids(48, seed=9))
    return student.requires_grad_(False)


def test_watching_sees_the_attention_of_the_chosen_layers(teacher) -> None:
    ids, seen = random_ids(5), {}
    with torch.no_grad(), watch_attention(teacher, (0, 2), lambda i, x, _, out: seen.update({i: (x, out.clone())})):
        teacher(ids, ForwardBatch.pack([5]))
    assert list(seen) == [0, 2]
    layer = decoder_layers(teacher)[0]
    torch.testing.assert_close(seen[0][0], layer.input_layernorm(teacher.model.embed_tokens(ids)))
    seen.clear()
    teacher(ids, ForwardBatch.pack([5]))
    assert not seen, "the hooks are gone"


def test_calibration_brings_every_layer_nearer(teacher, sequences) -> None:
    plain = student_from(teacher, HYBRID).requires_grad_(False)
    before, after = (transfer_attention(teacher, model, sequences) for model in (plain, make_student(teacher)))
    assert all(b < 0.6 * a for a, b in zip(before, after, strict=True))
    assert max(after) < 1.0, "worse than saying nothing"


def test_calibration_gives_heads_that_look_far_back_the_slow_decays(teacher) -> None:
    # All tokens are alike and queries equal keys, so that the rotary embedding makes heads of layer 0 look at what is
    # near; the last head has no query and looks at everything.
    teacher.model.embed_tokens.weight.copy_(teacher.model.embed_tokens.weight[:1].expand(67, 32).clone())
    attention = decoder_layers(teacher)[0].self_attn
    queries, keys = attention.q_proj.weight.view(4, 8, 32), attention.k_proj.weight.view(2, 8, 32)
    queries.copy_(3 * keys.repeat_interleave(2, 0))
    queries[3].zero_()
    plain, student = student_from(teacher, HYBRID), make_student(teacher)
    slowest = int(decoder_layers(student)[0].self_attn.slopes.argmin())
    old, new = (decoder_layers(model)[0].self_attn for model in (plain, student))
    queries = new.qkv_proj.weight.view(4, 3, 8, 32)[:, 0]
    assert not queries[slowest].any(), "the head without a preference"
    columns = old.out_proj.weight.view(32, 4, 8), new.out_proj.weight.view(32, 4, 8)
    assert torch.equal(columns[0][:, 3], columns[1][:, slowest])


def test_the_error_of_a_layer_is_relative_and_its_gradient_stays_in_it(teacher, sequences) -> None:
    student = make_student(teacher)
    train_only(student, attention_parameters(student))
    decoder_layers(student)[1].self_attn.out_proj.weight.data.zero_()
    errors = transfer_attention(teacher, student, sequences)
    assert errors[1] == pytest.approx(1.0), "nothing instead of everything"
    alone = student_from(teacher, hybrid_config(LLAMA, keep_softmax=[0, 1, 3]))
    decoder_layers(alone)[2].self_attn.load_state_dict(decoder_layers(student)[2].self_attn.state_dict())
    assert transfer_attention(teacher, alone, sequences) == pytest.approx(errors[2:])
    for mine, its in zip(*(decoder_layers(m)[2].self_attn.parameters() for m in (student, alone)), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)
    trained = {id(parameter) for parameter in attention_parameters(student)}
    assert all((p.grad is not None) == (id(p) in trained) for p in student.parameters())


def test_equal_models_do_not_diverge_and_others_do(teacher, sequences) -> None:
    upcycled = student_from(teacher, hybrid_config(LLAMA, softmax_every=1, num_experts=3, experts_per_token=2))
    divergence, aux = transfer_logits(teacher, upcycled, sequences, aux_loss_coef=0.01)
    assert divergence == pytest.approx(0.0, abs=1e-5)
    assert aux > 0
    assert any(layer.block_sparse_moe.gate.weight.grad.any() for layer in decoder_layers(upcycled))
    student = make_student(teacher)
    train_only(student, attention_parameters(student))
    divergence, aux = transfer_logits(teacher, student, sequences)
    ours, wanted = (model.logits(sequences).log_softmax(-1) for model in (student, teacher))
    assert divergence == pytest.approx((wanted.exp() * (wanted - ours)).sum(-1).mean().item(), rel=1e-4)
    assert aux == 0


def test_perplexity_is_that_of_the_logits(teacher, sequences) -> None:
    logprobs = teacher.logits(sequences).log_softmax(-1)[:, :-1]
    expected = -logprobs.gather(-1, sequences[:, 1:, None]).mean()
    assert log_perplexity(teacher, sequences) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("transfer", [lambda *a: sum(transfer_attention(*a)) / 3, lambda *a: transfer_logits(*a)[0]])
def test_the_losses_fall(teacher, sequences, transfer) -> None:
    student = make_student(teacher)
    train_only(student, attention_parameters(student))
    optimizer = torch.optim.AdamW(attention_parameters(student), lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(60):
        losses.append(transfer(teacher, student, sequences))
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.5 * losses[0]


def make_text() -> PlainText:
    return PlainText(random_ids(1600, seed=5), length=32, held_out=4, seed=1)


def settings(**changes) -> DistillationSettings:
    return DistillationSettings(
        **{"tokens": 64 * 12, "evaluations": 4, "trainable": "all", "warmup_steps": 2, "sequences": 2} | changes
    )


class Killed(Exception):
    """Stands for a kill: the run is left where it is."""


@pytest.mark.parametrize("config", [HYBRID, EXPERTS])
@pytest.mark.parametrize("killed_after", [0, 2, 4, 9])
def test_a_run_that_was_killed_ends_like_one_that_was_not(teacher, tmp_path, config, killed_after) -> None:
    whole = make_student(teacher, config)
    Distillation(teacher, whole, make_text(), settings(), tmp_path / "whole").run()
    calls = itertools.count()

    def kill(_done, words):
        if "tokens/s" in words and next(calls) == killed_after:
            raise Killed

    every_step = CheckpointSettings(every_steps=1, every_seconds=1e-9, keep=1)
    with pytest.raises(Killed):
        Distillation(
            teacher, make_student(teacher, config), make_text(), settings(), tmp_path / "cut",
            checkpoints=every_step, report=kill,
        ).run()  # fmt: skip
    resumed = make_student(teacher, config)
    Distillation(teacher, resumed, make_text(), settings(), tmp_path / "cut").run()
    for (name, a), b in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), name
    timeless = [
        [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in read_metrics(tmp_path / run / METRICS)]
        for run in ("whole", "cut")
    ]
    assert timeless[0] == timeless[1]


def test_a_run_trains_what_it_says_and_reports_both_stages(teacher, tmp_path) -> None:
    student, told = make_student(teacher), []
    before = {name: p.clone() for name, p in student.named_parameters()}
    text = make_text()
    Distillation(
        teacher, student, text, settings(trainable="attention", tokens=64 * 30, logits_rate=1e-2), tmp_path,
        report=lambda done, words: told.append((done, words)),
    ).run()  # fmt: skip
    changed = {name for name, p in student.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {f"model.layers.{i}.self_attn.{n}.weight" for i in range(3) for n in
                       ("qkv_proj", "output_gate", "out_proj", "norm")}  # fmt: skip
    lines = read_metrics(tmp_path / METRICS)
    steps = [line for line in lines if "loss" in line]
    assert [line["stage"] for line in steps] == ["attention"] * 10 + ["logits"] * 20
    losses = [line["loss"] for line in steps]
    assert losses[9] < losses[0]
    assert mean(losses[-5:]) < 0.9 * mean(losses[10:13])
    measured = [line["step"] for line in lines if "perplexity" in line]
    assert measured == [0, 10, 17, 24, 30]
    assert lines[0]["teacher_perplexity"] > 0
    assert told[-1][0] == 1.0
    assert all(word in told[-1][1] for word in ("attention loss", "logits loss", "perplexity", "tokens/s"))
    rates = [line["learning_rate"] for line in steps]
    assert rates[0] == pytest.approx(DistillationSettings(tokens=1).attention_rate / 3)  # two steps of warmup
    assert max(rates[:10]) == rates[2]
    assert rates[9] < 0.2 * rates[2]


@pytest.mark.parametrize(
    ("rates", "stage"), [({"attention_rate": 1e30}, "attention"), ({"logits_rate": 1e30}, "logits")]
)
def test_a_loss_that_is_no_number_stops_with_the_batch_saved(teacher, tmp_path, rates, stage) -> None:
    text = make_text()
    with pytest.raises(TrainingError, match=rf"stage {stage}, step \d+: the loss is .*The batch is saved in") as error:
        Distillation(teacher, make_student(teacher), text, settings(**rates), tmp_path).run()
    [file] = tmp_path.glob("bad-batch-step-*-process-0.jsonl")
    assert str(file) in str(error.value)
    number = int(file.name.split("-")[3]) - 1
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    assert [sample["token_ids"] for sample in samples] == text.batch(number, 2).tolist()


def test_a_run_in_minutes_ends_in_time(teacher, tmp_path) -> None:
    Distillation(teacher, make_student(teacher), make_text(), settings(tokens=None, minutes=0.01), tmp_path).run()
    stages = {line["stage"] for line in read_metrics(tmp_path / METRICS)}
    assert stages == {"attention", "logits"}


def test_a_run_is_not_continued_by_another(teacher, tmp_path) -> None:
    Distillation(teacher, make_student(teacher), make_text(), settings(), tmp_path)
    with pytest.raises(ValueError, match="tokens 768: repeat that"):
        Distillation(teacher, make_student(teacher), make_text(), settings(tokens=64), tmp_path)
    with pytest.raises(ValueError, match="started with config"):
        Distillation(teacher, make_student(teacher, EXPERTS), make_text(), settings(), tmp_path)
    other = PlainText(random_ids(1600, seed=6), length=32, held_out=4, seed=1)
    with pytest.raises(ValueError, match="started with text"):
        Distillation(teacher, make_student(teacher), other, settings(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 3.0}, "one of them"),
        ({"tokens": None}, "one of them"),
        ({"tokens": 0}, "above 0"),
        ({"trainable": "some"}, "attention and all"),
        ({"attention_share": 1.5}, "within 0..1"),
    ],
)
def test_settings_out_of_range_are_named(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)
