"""Scored log-probabilities are the model's own, packed or alone, and checkpointed layers change nothing."""

import pytest
import torch
from tiny_training import CONFIG, sample

from fulmen.config import ModelConfig, hybrid_layers
from fulmen.model.decoder import Decoder
from fulmen.train.losses import supervised_loss
from fulmen.train.packing import PackedBatch
from fulmen.train.scoring import Scorer, set_forwards
from fulmen.train.settings import Precision

SAMPLES = [sample(n, length) for n, length in enumerate((3, 20, 7, 11))]
DENSE = CONFIG.replace(layers=hybrid_layers(2, softmax_every=2, feed_forward="dense"), tied_embeddings=True)


def make(config: ModelConfig = CONFIG) -> Scorer:
    return Scorer(Decoder(config.replace(initializer_range=0.2)).initialize(seed=0))


@pytest.mark.parametrize("config", [CONFIG, DENSE], ids=["experts", "dense"])
def test_packed_sequences_score_as_alone_and_as_by_full_logits(config: ModelConfig) -> None:
    scorer = make(config)
    packed, load = scorer(PackedBatch.pack(SAMPLES))
    alone = torch.cat([scorer(PackedBatch.pack([one]))[0] for one in SAMPLES])
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)
    expected = []
    for one in SAMPLES:
        logprobs = scorer.decoder.logits(torch.tensor(one.token_ids)).log_softmax(-1)
        expected += [logprobs[i - 1, one.token_ids[i]] for i in range(1, len(one.token_ids)) if one.mask[i]]
    torch.testing.assert_close(packed, torch.stack(expected), atol=1e-5, rtol=1e-5)
    assert (load is None) == (config is DENSE)


def losses_and_gradients(precision: Precision, checkpointing: bool) -> list[torch.Tensor]:
    scorer, batch = make(), PackedBatch.pack(SAMPLES)
    set_forwards(scorer, precision=precision, activation_checkpointing=checkpointing)
    logprobs, load = scorer(batch)
    assert load.fraction.shape == (2, 4)
    loss = supervised_loss(logprobs, batch) + load.balancing_loss()
    loss.backward()
    return [loss, load.balancing_loss(), *(p.grad for p in scorer.parameters())]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_checkpointed_layers_give_the_same_losses_and_gradients(precision: Precision) -> None:
    found = [losses_and_gradients(precision, checkpointing) for checkpointing in (False, True)]
    for plain, checkpointed in zip(*found, strict=True):
        assert torch.equal(plain, checkpointed)


def test_checkpointing_recomputes_and_can_be_undone() -> None:
    scorer, calls = make(), []
    names = [name for name, _ in scorer.named_parameters()]
    scorer.decoder.model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    for enabled in (True, True, False):
        set_forwards(scorer, precision="bfloat16", activation_checkpointing=enabled)
        scorer(PackedBatch.pack(SAMPLES))[0].sum().backward()
    assert len(calls) == 2 + 2 + 1
    assert [name for name, _ in scorer.named_parameters()] == names


def test_bfloat16_layers_are_close_and_leave_gradients_in_float32() -> None:
    exact, rounded = (losses_and_gradients(precision, False) for precision in ("float32", "bfloat16"))
    assert rounded[0].item() == pytest.approx(exact[0].item(), rel=1e-2)
    assert rounded[0].item() != exact[0].item()
    assert all(gradient.dtype == torch.float32 for gradient in rounded)
    one, other = (torch.cat([gradient.flatten() for gradient in found[2:]]) for found in (exact, rounded))
    assert torch.cosine_similarity(one, other, dim=0) > 0.99


def test_the_router_and_the_head_see_float32_in_bfloat16_layers() -> None:
    scorer, seen = make(), {}
    experts = scorer.decoder.model.layers[0].block_sparse_moe.experts
    experts.register_forward_hook(lambda _, inputs, out: seen.update(routing=inputs[2].dtype, experts=out.dtype))
    scorer.decoder.model.norm.register_forward_hook(lambda *facts: seen.update(hidden=facts[2].dtype))
    set_forwards(scorer, precision="bfloat16", activation_checkpointing=False)
    scorer(PackedBatch.pack(SAMPLES))
    assert seen == {"routing": torch.float32, "experts": torch.bfloat16, "hidden": torch.float32}
