"""However a request is computed, its tokens are those of a cold run: the bugs of hybrid caches are silent ones."""

import itertools
from collections import Counter

import pytest
import torch
from tiny_engine import prompts_of

from fulmen.trace import SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
KINDS = ["hybrid", "softmax", "lightning"]


def pages_for(engine, tokens: int) -> int:
    """Bytes of a cache with room for so many tokens beside its slots."""
    return tokens // 8 * engine._runner.cache.bytes_per_page


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 3, 16, 64])
def test_batches_and_chunks_give_the_tokens_of_whole_passes(make_engine, oracle, kind, chunk) -> None:
    prompts = prompts_of(1, 7, 33, 50, 8, 16)
    completions = make_engine(kind, max_tokens_per_step=max(chunk, 4)).generate(prompts, GREEDY)
    assert [c.token_ids for (c,) in completions] == [oracle(kind, prompt, 12) for prompt in prompts]


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_turn_computes_only_what_is_new(make_engine, oracle, kind) -> None:
    engine, (first, more) = make_engine(kind), prompts_of(40, 9)
    ((reply,),) = engine.generate([first], GREEDY)
    second = [*first, *reply.token_ids, *more]
    ((answer,),) = engine.generate([second], GREEDY)
    assert answer.cached_tokens == len(first) + len(reply.token_ids) - 1  # the last one was never computed
    assert answer.token_ids == oracle(kind, second, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_that_part_share_what_they_have_in_common(make_engine, oracle, kind) -> None:
    engine, (common, *ends) = make_engine(kind), prompts_of(37, 5, 6, 7)
    prompts = [[*common, *end] for end in ends]
    cached = []
    for prompt in prompts:
        ((completion,),) = engine.generate([prompt], GREEDY)
        assert completion.token_ids == oracle(kind, prompt, 12)
        cached.append(completion.cached_tokens)
    # The second prompt finds where it parts from the first and leaves a snapshot there; the third one uses it.
    assert cached == [0, 0, 37]


@pytest.mark.parametrize("kind", ["hybrid", "softmax"])
def test_preempted_requests_give_the_tokens_of_undisturbed_ones(make_engine, oracle, kind) -> None:
    full = make_engine(kind)
    slots = full._runner.cache.bytes_per_slot * 4
    tight = make_engine(
        kind, cache_bytes=slots + 8 * full._runner.cache.bytes_per_page, max_context=60, max_snapshots=0
    )
    assert tight.memory.pages.num_pages <= 8
    prompts = prompts_of(20, 21, 22, 23)
    params = SamplingParams(temperature=0.0, max_tokens=30, ignore_eos=True)
    completions = tight.generate(prompts, params)
    assert 0 < tight.scheduler.num_preemptions < 4  # who is set back waits until all of it fits
    assert [c.token_ids for (c,) in completions] == [oracle(kind, prompt, 30) for prompt in prompts]
    assert tight.memory.pages.num_free + sum(len(s.pages) for s in tight.memory.prefixes) >= 8


def test_a_prompt_waits_uncomputed_until_all_of_it_fits(make_engine, oracle) -> None:
    probe = make_engine()._runner.cache
    engine = make_engine(cache_bytes=6 * probe.bytes_per_slot + 20 * probe.bytes_per_page, max_snapshots=2)
    assert engine.memory.pages.num_pages == 20
    computed, schedule = Counter(), engine.scheduler.schedule

    def watched():
        works = schedule()
        computed.update({work.sequence.request.id: work.length for work in works})
        return works

    engine.scheduler.schedule = watched
    answering, waiting = prompts_of(70, 100)  # 9 pages that become 17, and 13
    params = SamplingParams(temperature=0.0, max_tokens=60, ignore_eos=True)
    first = engine.add(answering, params)
    while not engine.step():
        pass
    snapshots = list(engine.memory.prefixes)
    second = engine.add(waiting, params)
    events = {first: [], second: []}
    while engine.has_work:
        for request, event in engine.step():
            events[request].append(event)
        if engine.scheduler.waiting:
            assert computed[second] == 0
            assert all(snapshot in engine.memory.prefixes for snapshot in snapshots)
    assert snapshots
    assert engine.scheduler.num_preemptions == 0
    assert computed == {first: 70 + 59, second: 100 + 59}
    assert tuple(event.token_id for event in events[second]) == oracle("hybrid", waiting, 60)


MODES = list(itertools.product([False, True], repeat=4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("hit", "tight", "cancel", "reopened"), MODES)
def test_every_mode_together_gives_the_logprobs_of_a_cold_run(
    make_engine, oracle, models, tmp_path, kind, hit, tight, cancel, reopened
) -> None:
    """Prefix hit, preemption, cancelled neighbours, reopened context, in every combination, always in chunks."""
    prompt, other, extra = prompts_of(29, 31, 10)
    options = {}
    if tight and kind != "lightning":
        probe = make_engine(kind)._runner.cache
        options = {"cache_bytes": 6 * probe.bytes_per_slot + 12 * probe.bytes_per_page, "max_snapshots": 2}
    engine = make_engine(kind, max_context=96, max_tokens_per_step=7, **options)
    if reopened:
        path = tmp_path / "context.safetensors"
        make_engine(kind).save_context(path, prompt[:19])
        assert engine.load_context(path) == tuple(prompt[:19])
    if hit:
        engine.generate([prompt[:25]], SamplingParams(temperature=0.0, max_tokens=3, ignore_eos=True))
    wanted = engine.add([*prompt, *extra], GREEDY)
    neighbours = [engine.add(other + extra[:i], SamplingParams(max_tokens=40, seed=i)) for i in range(3)]
    events = []
    for step in itertools.count():
        events += [event for request, event in engine.step() if request == wanted]
        if cancel and step == 5:
            engine.cancel(neighbours[1])
        if events and events[-1].finish_reason:
            break
    full = [*prompt, *extra, *(event.token_id for event in events)]
    assert tuple(full[39:]) == oracle(kind, [*prompt, *extra], 12)
    logprobs = models[kind].logits(torch.tensor(full)).log_softmax(-1)[38:-1]
    expected = logprobs[range(12), full[39:]]
    torch.testing.assert_close(torch.tensor([e.logprob for e in events]), expected, atol=1e-4, rtol=1e-4)
    if hit or reopened:
        assert events[0].cached_tokens >= 19


def test_evicting_snapshots_never_harms_those_who_run(make_engine, oracle) -> None:
    probe = make_engine()._runner.cache
    engine = make_engine(
        cache_bytes=6 * probe.bytes_per_slot + 16 * probe.bytes_per_page, max_running=3, max_snapshots=3
    )
    prompts = prompts_of(*range(10, 40, 3))
    prompts += [[*prompt[:8], 1] for prompt in prompts]
    for (completion,), prompt in zip(engine.generate(prompts, GREEDY), prompts, strict=True):
        assert completion.token_ids == oracle("hybrid", prompt, 12)
