"""What the engine samples and what the trainer scores are one model: the same log-probability for every token."""

import pytest
import torch

from fulmen.engine.engine import Engine, EngineOptions
from fulmen.kernels import native
from fulmen.model.decoder import Decoder
from fulmen.tasks.registry import TASKS
from fulmen.trace import SamplingParams, TrainingSample
from fulmen.train.packing import PackedBatch
from fulmen.train.recipe import read_recipe
from fulmen.train.scoring import Scorer


class Numbers:
    """A vocabulary without text: no token ends a reply."""

    special_token_ids: frozenset[int] = frozenset()
    eos_token_ids: tuple[int, ...] = ()

    def __init__(self, size: int) -> None:
        self.vocab_size = size
        self.token_bytes = [f"{number} ".encode() for number in range(size)]


@pytest.mark.parametrize("runs_natively", [True, False])
def test_the_engine_and_the_trainer_agree_on_a_model_of_sparks_sizes(tmp_path, monkeypatch, runs_natively):
    if runs_natively and not native.available():
        pytest.skip("this machine has no compiler")
    monkeypatch.setattr(native, "available", lambda: runs_natively)
    recipe = read_recipe("spark", tmp_path, task_names=TASKS)
    vocabulary = Numbers(recipe.vocabulary.size)
    config = recipe.model.config(vocabulary, length=1024).replace(initializer_range=0.1)  # far from even choices
    model = Decoder(config).initialize(1).requires_grad_(False)
    engine = Engine(model, vocabulary, options=EngineOptions(max_tokens_per_step=100))
    prompts = [list(range(7, 300)), [5], list(range(64))]
    params = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=70, seed=3)
    for prompt, [completion] in zip(prompts, engine.generate(prompts, params), strict=True):
        ids = (*prompt, *completion.token_ids)
        sample = TrainingSample(
            token_ids=ids, mask=tuple(i >= len(prompt) for i in range(len(ids))), weights=(1.0,) * len(ids)
        )
        logprobs, _ = Scorer(model)(PackedBatch.pack([sample]))
        assert logprobs.std() > 1
        torch.testing.assert_close(torch.tensor(completion.logprobs), logprobs, atol=1e-4, rtol=0)
