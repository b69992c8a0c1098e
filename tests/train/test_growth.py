"""Growth: the deeper model computes what the shallower one did, decays change least, and runs go on over it."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import CONFIG, CountingSource, stage

from fulmen.config import ModelConfig, ResidualScale, hybrid_layers
from fulmen.model.decoder import Decoder
from fulmen.model.lightning import LightningAttention, decay_factor
from fulmen.model.weights import load_checkpoint
from fulmen.runlog import read_metrics
from fulmen.train.growth import grow, grown_config, old_places
from fulmen.train.run import run_stages
from fulmen.train.settings import CheckpointSettings

DEEPNORM = ResidualScale(alpha=2.0, beta=0.5)
HYBRID = CONFIG.replace(
    layers=hybrid_layers(4, softmax_every=2),
    lightning_residual=DEEPNORM,
    softmax_residual=DEEPNORM,
    feed_forward_residual=DEEPNORM,
    shared_intermediate_size=16,
)
DENSE = CONFIG.replace(
    layers=hybrid_layers(2, softmax_every=2, feed_forward="dense"), num_experts=0, experts_per_token=0, postnorm=False
)
TIED = CONFIG.replace(tied_embeddings=True)


def random_model(config: ModelConfig) -> Decoder:
    model = Decoder(config, dtype=torch.float64).initialize(3)
    with torch.no_grad():
        for parameter in model.parameters():  # norms away from 1, or a forgotten one would not be seen
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    return model


@pytest.mark.parametrize("config", [HYBRID, DENSE, TIED])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_grown_model_computes_what_it_was_grown_from(config: ModelConfig, times: int) -> None:
    model = random_model(config)
    grown = grow(model, times * config.num_layers)
    places = old_places(config.layers, grown.config.layers)
    for place, layer in zip(places, model.model.layers, strict=True):  # all but the decays is exact
        attention, old = grown.model.layers[place].self_attn, layer.self_attn
        if isinstance(attention, LightningAttention):
            assert isinstance(old, LightningAttention)
            attention.slopes = old.slopes
    tokens = torch.randint(57, (2, 19), generator=torch.Generator().manual_seed(2))
    # Where the residual grew, the epsilons of norms weigh less.
    torch.testing.assert_close(grown.logits(tokens), model.logits(tokens), rtol=0, atol=1e-4)
    assert (grown.lm_head.weight is grown.model.embed_tokens.weight) == config.tied_embeddings


def test_every_weight_of_a_new_layer_learns() -> None:
    grown = grow(random_model(HYBRID), 8).requires_grad_(True)
    with torch.no_grad():
        for name, parameter in grown.named_parameters():
            if name.endswith(("out_proj.weight", "o_proj.weight", "w2", "w2.weight")):
                parameter += 1e-3  # at zero only these have gradients, and one step takes them from there
    grown.logits(torch.arange(40) % 57)[:, :57].log_softmax(-1).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in grown.parameters())


def test_old_layers_stand_where_their_decays_change_least() -> None:
    eight, sixteen = hybrid_layers(8, softmax_every=8), hybrid_layers(16, softmax_every=8)
    places = old_places(eight, sixteen)
    assert places == (0, 2, 4, 6, 9, 11, 13, 15)
    changes = [decay_factor(p, 16) / decay_factor(i, 8) for i, p in enumerate(places[:-1])]
    assert max(abs(change - 1) for change in changes) < 0.07


@settings(max_examples=30, deadline=None)
@given(layers=st.integers(1, 12), every=st.integers(1, 6), times=st.integers(1, 4))
def test_old_layers_keep_their_order_and_kind(layers: int, every: int, times: int) -> None:
    old = hybrid_layers(layers, softmax_every=every)
    places = old_places(old, old * times)
    assert list(places) == sorted(set(places))
    assert [(old * times)[place] for place in places] == list(old)


def test_the_residual_of_deepnorm_follows_the_depth() -> None:
    assert grown_config(HYBRID, 8).softmax_residual == ResidualScale(alpha=2.0 * 2**0.25, beta=0.5)
    assert grown_config(DENSE, 4).softmax_residual == DENSE.softmax_residual


def test_a_run_grows_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    stages = [stage("first"), stage("grown", num_layers=4, tokens=4 * 128), stage("after", tokens=2 * 128)]
    every_step = CheckpointSettings(every_steps=1, keep=20)
    for folder, upto in ((tmp_path / "whole", 3), (tmp_path / "killed", 2)):
        run_stages(CONFIG, stages[:upto], lambda _: CountingSource(), folder, checkpoints=every_step)
    lines = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    assert lines[8]["loss"] < lines[0]["loss"] - 0.3, "it knows what it knew before it grew"
    assert load_checkpoint(tmp_path / "whole" / "first").config.num_layers == 2
    killed = tmp_path / "killed"
    for checkpoint in sorted((killed / "checkpoints").glob("step-*"))[-2:]:  # as if killed two steps earlier
        for file in sorted(checkpoint.rglob("*"), reverse=True):
            file.unlink()
        checkpoint.rmdir()
    run_stages(CONFIG, stages, lambda _: CountingSource(), killed, checkpoints=every_step)
    assert [line["loss"] for line in read_metrics(killed / "metrics.jsonl")] == [line["loss"] for line in lines]
    ours, theirs = (load_checkpoint(folder / "after") for folder in (killed, tmp_path / "whole"))
    assert ours.config.num_layers == 4
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, theirs.get_parameter(name)), name


def test_a_growth_that_cannot_be_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    stages = [stage("first"), stage("grown", num_layers=5)]
    with pytest.raises(ValueError, match="stage grown: num_layers is 5; a model of 2 layers grows to a whole multiple"):
        run_stages(CONFIG, stages, lambda _: CountingSource(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
