"""What a converted model starts from: carried weights, experts that change nothing, clear refusals."""

import pytest
import torch
from tiny_teachers import LLAMA, make_teacher, random_ids

from fulmen.config import hybrid_layers
from fulmen.model.cache import ForwardBatch, HybridCache
from fulmen.model.lightning import LightningAttention
from fulmen.model.weights import load_checkpoint, save_checkpoint
from fulmen.train.hybridize import decoder_layers, hybrid_config, student_from


@pytest.fixture(autouse=True)
def _poisoned_memory():
    """In deterministic mode torch fills memory that nobody has written yet with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_every_eighth_layer_or_a_list_keeps_softmax() -> None:
    long = LLAMA.replace(layers=hybrid_layers(30, softmax_every=1, feed_forward="dense"))
    assert hybrid_config(long).softmax_layers == (7, 15, 23)
    assert hybrid_config(long, keep_softmax=(0, 29)).softmax_layers == (0, 29)
    assert hybrid_config(LLAMA, softmax_every=2) == LLAMA.replace(
        layers=hybrid_layers(4, softmax_every=2, feed_forward="dense")
    )


@pytest.mark.parametrize("experts_per_token", [1, 2, 3])
def test_upcycling_changes_nothing(experts_per_token) -> None:
    teacher, ids = make_teacher(), random_ids(40)
    config = hybrid_config(LLAMA, softmax_every=1, num_experts=4, experts_per_token=experts_per_token)
    student = student_from(teacher, config)
    torch.testing.assert_close(student.logits(ids), teacher.logits(ids), atol=1e-4, rtol=1e-4)


def test_noise_tells_the_experts_apart() -> None:
    teacher, ids = make_teacher(), random_ids(40)
    config = hybrid_config(LLAMA, softmax_every=1, num_experts=3, experts_per_token=1)
    noisy = student_from(teacher, config, expert_noise=0.1)
    first, second, _ = decoder_layers(noisy)[0].block_sparse_moe.experts.w2
    assert 0.05 < (first - second).std() / first.std() < 0.3
    assert (noisy.logits(ids) - teacher.logits(ids)).abs().max() > 1e-3


def test_projections_are_carried_head_by_head() -> None:
    teacher = make_teacher()
    student = student_from(teacher, hybrid_config(LLAMA, keep_softmax=[2]))
    old, new = (decoder_layers(model)[1].self_attn for model in (teacher, student))
    x = torch.randn(5, LLAMA.hidden_size)
    q, k, v = new.qkv_proj(x).view(5, 4, 24).split(8, dim=-1)  # each [T, H, D]
    torch.testing.assert_close(q, old.q_proj(x).view(5, 4, 8))
    for head in range(4):  # two query heads share a key and a value head
        group = slice(head // 2 * 8, head // 2 * 8 + 8)
        torch.testing.assert_close(k[:, head], old.k_proj(x)[:, group])
        torch.testing.assert_close(v[:, head], old.v_proj(x)[:, group])
    assert torch.equal(new.out_proj.weight, old.o_proj.weight)
    assert isinstance(new, LightningAttention)


def test_everything_else_is_the_teachers_and_nothing_is_left_unset() -> None:
    teacher = make_teacher()
    student = student_from(teacher, hybrid_config(LLAMA, softmax_every=2, num_experts=2, experts_per_token=1))
    given = dict(teacher.named_parameters())
    same = {name for name, parameter in student.named_parameters() if name in given}
    assert len(same) == 2 + 4 * 2 + 2 * 4  # embedding and final norm, two norms a layer, two softmax layers
    for name, parameter in student.named_parameters():
        assert parameter.isfinite().all(), name
        assert name not in given or torch.equal(parameter, given[name]), name
    assert student.lm_head.weight is student.model.embed_tokens.weight
    student.model.embed_tokens.weight.data.zero_()
    assert teacher.model.embed_tokens.weight.any(), "the student has weights of its own"


@pytest.mark.parametrize("experts", [{}, {"num_experts": 3, "experts_per_token": 2}])
def test_a_student_is_a_checkpoint_whose_decoding_equals_its_prefill(tmp_path, experts) -> None:
    student = student_from(make_teacher(), hybrid_config(LLAMA, softmax_every=2, **experts), expert_noise=0.1)
    save_checkpoint(student, tmp_path / "student", family="minimax_m1")
    model, ids = load_checkpoint(tmp_path / "student"), random_ids(24)
    assert model.config == student.config
    expected = student.logits(ids)
    assert torch.equal(model.logits(ids), expected)
    cache = HybridCache(model.config, num_pages=4, num_slots=1, page_size=8)
    batches = [ForwardBatch.pack([1], contexts=[i], slots=[0], pages=[[0, 1, 2]]) for i in range(len(ids))]
    hidden = torch.cat([model(ids[i : i + 1], batch, cache) for i, batch in enumerate(batches)])
    torch.testing.assert_close(model.head(hidden), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"layers": hybrid_layers(4, softmax_every=2, feed_forward="dense")}, {}, r"layers \[0, 2\].*already"),
        ({"layers": hybrid_layers(4, softmax_every=1), "num_experts": 2, "experts_per_token": 1}, {}, "has experts"),
        ({"qkv_bias": True}, {}, "biases"),
        ({}, {"keep_softmax": [1, 4, -1]}, r"layers \[-1, 4\].*0\.\.3"),
        ({}, {"softmax_every": 0}, "softmax_every is 0"),
        ({}, {"softmax_every": 1}, "nothing would change"),
        ({}, {"num_experts": 2, "experts_per_token": 3}, r"is 3.*1\.\.2"),
        ({}, {"num_experts": 2}, r"experts_per_token is 0.*1\.\.2"),
        ({}, {"experts_per_token": 2}, r"experts_per_token is 2"),
    ],
)
def test_what_cannot_be_converted_is_named(changes, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        hybrid_config(LLAMA.replace(**changes), **options)
