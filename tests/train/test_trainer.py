"""Gradients do not depend on how a step is cut, steps move what they should, and a tiny model learns by heart."""

import pytest
import torch
from tiny_training import CONFIG, sample, trainer

from fulmen.config import hybrid_layers
from fulmen.train.losses import supervised_loss
from fulmen.train.packing import PackedBatch
from fulmen.train.trainer import NonFiniteError

SAMPLES = [sample(n, length) for n, length in enumerate((3, 20, 7, 11, 16, 5))]


def gradients(cuts: list[list[int]], aux_loss_coef: float) -> tuple[float, dict[str, torch.Tensor]]:
    made = trainer(CONFIG.replace(initializer_range=0.2))
    made._aux_loss_coef = aux_loss_coef
    tally = made.forward_backward([PackedBatch.pack([SAMPLES[i] for i in cut]) for cut in cuts], supervised_loss)
    return tally.loss, {name: p.grad for name, p in made.scorer.named_parameters()}


def test_accumulated_micro_batches_equal_one_big_batch() -> None:
    loss, whole = gradients([[0, 1, 2, 3, 4, 5]], 0.0)
    for cuts in ([[0, 1], [2, 3, 4], [5]], [[0], [1, 2, 3, 4, 5]]):
        cut_loss, cut = gradients(cuts, 0.0)
        assert cut_loss == pytest.approx(loss, rel=1e-6)
        for name, gradient in whole.items():
            torch.testing.assert_close(cut[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_the_loss_is_the_weighted_mean_and_the_balancing_loss_reaches_the_router() -> None:
    made = trainer(CONFIG.replace(initializer_range=0.2))
    batch = PackedBatch.pack(SAMPLES)
    logprobs = made.scorer(batch)[0].detach()
    expected = -(logprobs * batch.weights).sum() / batch.weights.sum()
    assert gradients([[0, 1, 2, 3, 4, 5]], 0.0)[0] == pytest.approx(expected.item(), rel=1e-6)
    gate = "decoder.model.layers.0.block_sparse_moe.gate.weight"
    with_aux, without = (gradients([[0, 1, 2, 3, 4, 5]], coefficient)[1][gate] for coefficient in (1.0, 0.0))
    load = made.scorer(batch)[1]
    aux = torch.autograd.grad(load.balancing_loss(), made.scorer.get_parameter(gate))[0]
    torch.testing.assert_close(with_aux - without, aux, atol=1e-6, rtol=1e-4)


def test_clipping_keeps_the_direction_and_reports_the_norm() -> None:
    made = trainer(clip_norm=1e-3)
    made.forward_backward([PackedBatch.pack(SAMPLES)], supervised_loss)
    before = torch.cat([p.grad.flatten() for p in made.scorer.parameters()])
    assert made.clip_gradients() == pytest.approx(before.norm().item(), rel=1e-5)
    after = torch.cat([p.grad.flatten() for p in made.scorer.parameters()])
    torch.testing.assert_close(after, before * 1e-3 / before.norm(), atol=1e-9, rtol=1e-4)


def test_weight_decay_shrinks_matrices_but_not_the_embedding() -> None:
    made = trainer(weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in made.scorer.named_parameters()}
    for parameter in made.scorer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step(learning_rate=0.1)
    for name, parameter in made.scorer.named_parameters():
        decayed = parameter.dim() > 1 and name != "decoder.model.embed_tokens.weight"
        torch.testing.assert_close(parameter.detach(), before[name] * (0.95 if decayed else 1.0), msg=name)
    assert "decoder.model.embed_tokens.weight" in before


def test_the_first_step_is_adams() -> None:
    """The state made beforehand must not count as a step: Adam's first one has the size of the learning rate."""
    made = trainer(weight_decay=0.0, clip_norm=None)
    before = [p.detach().clone() for p in made.scorer.parameters()]
    made.forward_backward([PackedBatch.pack(SAMPLES)], supervised_loss)
    norm = next(p for name, p in made.scorer.named_parameters() if name.endswith("model.norm.weight"))
    signs = norm.grad.sign()
    made.step(learning_rate=0.01)
    index = [id(p) for p in made.scorer.parameters()].index(id(norm))
    torch.testing.assert_close(norm.detach(), before[index] - 0.01 * signs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("feed_forward", ["experts", "dense"])
def test_a_tiny_model_learns_a_pattern_by_heart(feed_forward: str) -> None:
    made = trainer(CONFIG.replace(layers=hybrid_layers(2, softmax_every=2, feed_forward=feed_forward)))
    batches = [PackedBatch.pack(SAMPLES[:3]), PackedBatch.pack(SAMPLES[3:])]
    losses = []
    for _ in range(60):
        losses.append(made.forward_backward(batches, supervised_loss).loss)
        made.clip_gradients()
        made.step(learning_rate=1e-2)
    assert losses[0] == pytest.approx(4.05, abs=0.3)  # log of 57 live tokens
    assert losses[-1] < 0.1


def test_a_loss_that_is_no_number_names_its_batch() -> None:
    made = trainer()
    batches = [PackedBatch.pack(SAMPLES[:3]), PackedBatch.pack(SAMPLES[3:])]
    with pytest.raises(NonFiniteError, match="the loss is nan") as caught:
        made.forward_backward(
            batches, lambda logprobs, batch: logprobs.sum() * (float("nan") if batch is batches[1] else 1.0)
        )
    assert caught.value.batches == (batches[1],)


def test_a_step_without_targets_is_refused() -> None:
    untrained = PackedBatch.pack([sample(0, 2)])
    with pytest.raises(ValueError, match="nothing to train on"):
        trainer().forward_backward([untrained], supervised_loss)
    trainer().forward_backward([untrained, PackedBatch.pack(SAMPLES)], supervised_loss)
