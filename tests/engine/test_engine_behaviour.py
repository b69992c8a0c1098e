"""What a request asks for is what it gets: ends, budgets, seeds, limits, cancellation, and nothing leaks."""

import dataclasses

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tiny_engine import CONFIGS, END, prompts_of

from fulmen.engine.engine import Engine, EngineOptions
from fulmen.engine.request import ContextTooLong, QueueFull
from fulmen.kernels import native
from fulmen.model.decoder import Decoder
from fulmen.trace import Grammar, RepetitionStop, SamplingParams, ThinkingBudget


def assert_nothing_leaks(engine) -> None:
    assert not engine.has_work
    engine.memory.forget_all()
    assert engine.memory.pages.num_free == engine.memory.pages.num_pages
    assert engine.memory.slots.num_free == engine.memory.slots.num_slots


def test_a_seed_gives_the_same_tokens_alone_in_company_and_after_preemption(make_engine) -> None:
    params = SamplingParams(temperature=1.3, top_p=0.9, seed=7, max_tokens=25, ignore_eos=True, n=2)
    prompts = prompts_of(12, 20, 21, 22)
    alone = make_engine().generate(prompts[:1], params)[0]
    probe = make_engine()._runner.cache
    small = 4 * probe.bytes_per_slot + 8 * probe.bytes_per_page
    busy = make_engine(cache_bytes=small, max_context=64, max_snapshots=0).generate(prompts, params)[0]
    assert [c.token_ids for c in busy] == [c.token_ids for c in alone]
    assert alone[0].token_ids != alone[1].token_ids
    for one, other in zip(alone, busy, strict=True):
        torch.testing.assert_close(torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-4, rtol=1e-4)


def test_choices_share_the_prompt(make_engine) -> None:
    engine = make_engine()
    (choices,) = engine.generate(prompts_of(40), SamplingParams(n=3, max_tokens=4, seed=1))
    assert [c.cached_tokens for c in choices] == [0, 39, 39]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_stop_strings_end_the_reply_across_tokens(make_engine, letters, oracle, length) -> None:
    (prompt,) = prompts_of(20)
    text = letters.decode(oracle("hybrid", prompt, 12))
    stop = text[4 : 4 + length]
    params = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True, stop=("never there", stop))
    ((completion,),) = make_engine().generate([prompt], params)
    said = letters.decode(completion.token_ids)
    assert (completion.finish_reason, completion.stop_string) == ("stop", stop)
    assert said == text[: text.index(stop) + length]


def test_the_end_token_ends_the_reply(make_engine) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=5, logit_bias={END: 1000.0})
    ((completion,),) = make_engine().generate(prompts_of(5), params)
    assert (completion.token_ids, completion.finish_reason) == ((END,), "stop")


def test_the_reply_ends_at_its_limit_and_at_the_context(make_engine) -> None:
    (prompt,) = prompts_of(30)
    engine = make_engine(max_context=40)
    for limit, expected in ((4, 4), (None, 10), (99, 10)):
        params = SamplingParams(temperature=0.0, max_tokens=limit, ignore_eos=True)
        ((completion,),) = engine.generate([prompt], params)
        assert (len(completion.token_ids), completion.finish_reason) == (expected, "length")


def test_confident_repetition_is_stopped(make_engine) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=50, repetition_stop=RepetitionStop(tokens=7, probability=0.0))
    ((completion,),) = make_engine().generate(prompts_of(5), params)
    assert (len(completion.token_ids), completion.finish_reason) == (7, "repetition")
    unsure = SamplingParams(
        temperature=0.0, max_tokens=50, ignore_eos=True, repetition_stop=RepetitionStop(tokens=7, probability=0.999)
    )
    assert make_engine().generate(prompts_of(5), unsure)[0][0].finish_reason == "length"


@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_a_spent_budget_closes_the_thinking_and_the_answer_follows(make_engine, letters, tokens) -> None:
    close = tuple(letters.encode("\\</think>"))
    budget = ThinkingBudget(tokens=tokens, open_text="<think>", close_text="</think>", close_ids=close, open=True)
    params = SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True, thinking_budget=budget)
    ((completion,),) = make_engine().generate(prompts_of(20), params)
    assert completion.token_ids[tokens : tokens + len(close)] == close
    assert completion.sampled == (True,) * tokens + (False,) * len(close) + (True,) * (24 - tokens - len(close))
    assert completion.logprobs[tokens] == 0.0


def test_the_budget_counts_from_where_the_model_opens_the_thinking(make_engine, letters) -> None:
    close = tuple(letters.encode("</think>"))
    budget = ThinkingBudget(tokens=3, open_text="<think>", close_text="</think>", close_ids=close, open=False)
    grammar = Grammar(kind="regex", source="  <think>[a-z]{1,9}</think>done")
    params = SamplingParams(seed=1, max_tokens=60, thinking_budget=budget, grammar=grammar)
    ((completion,),) = make_engine().generate(prompts_of(4), params)
    text = letters.decode(completion.token_ids)
    assert len(text[: text.index("</think>")]) == len("  <think>") + 3
    assert text.endswith("</think>done")
    assert completion.finish_reason == "stop"


def test_a_tag_inside_the_answer_opens_no_thinking(make_engine, letters) -> None:
    close = tuple(letters.encode("</think>"))
    budget = ThinkingBudget(tokens=3, open_text="<think>", close_text="</think>", close_ids=close, open=False)
    grammar = Grammar(kind="regex", source="the <think> tag opens it")
    params = SamplingParams(max_tokens=60, thinking_budget=budget, grammar=grammar)
    ((completion,),) = make_engine().generate(prompts_of(4), params)
    assert letters.decode(completion.token_ids) == "the <think> tag opens it"


def test_forced_tokens_are_computed_like_any_other(make_engine, models, letters) -> None:
    close = tuple(letters.encode("</think>"))
    budget = ThinkingBudget(tokens=2, open_text="<think>", close_text="</think>", close_ids=close, open=True)
    (prompt,) = prompts_of(20)
    params = SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True, thinking_budget=budget)
    ((completion,),) = make_engine().generate([prompt], params)
    full = [*prompt, *completion.token_ids]
    best = models["hybrid"].logits(torch.tensor(full)).argmax(-1).tolist()
    assert full[len(prompt) + 10 :] == best[len(prompt) + 9 : -1]


@pytest.mark.parametrize("runs_natively", [True, False])
def test_rows_beyond_the_vocabulary_are_neither_sampled_nor_reported(letters, monkeypatch, runs_natively) -> None:
    if runs_natively and not native.available():
        pytest.skip("this machine has no compiler")
    monkeypatch.setattr(native, "available", lambda: runs_natively)
    config = CONFIGS["hybrid"].replace(vocab_size=END + 21)
    engine = Engine(
        Decoder(config).initialize(seed=0).requires_grad_(False), letters, options=EngineOptions(page_size=8)
    )
    free = SamplingParams(top_p=1.0, seed=1, max_tokens=60, ignore_eos=True, top_logprobs=20, repetition_penalty=1.1)
    written = dataclasses.replace(free, grammar=Grammar(kind="regex", source="[a-z]{20}"))
    for params in (free, written):
        ((completion,),) = engine.generate(prompts_of(5), params)
        reported = {token for top in completion.top_logprobs for token, _ in top}
        assert max(reported | set(completion.token_ids)) <= END
    with pytest.raises(ValueError, match=f"the vocabulary ends at {END}"):
        engine.add([END + 1], free)


def test_cancelled_requests_free_everything_and_say_so(make_engine) -> None:
    engine = make_engine()
    ids = [engine.add(prompt, SamplingParams(max_tokens=100, ignore_eos=True)) for prompt in prompts_of(9, 30, 5, 5, 5)]
    for _ in range(4):
        engine.step()
    for request in ids:
        engine.cancel(request)
    ends = [event.finish_reason for _, event in engine.step() if event.token_id is None]
    assert ends == ["cancelled"] * 5
    assert_nothing_leaks(engine)


def test_refusals_name_both_numbers(make_engine) -> None:
    engine = make_engine(max_context=32, max_running=1, max_queue=1)
    with pytest.raises(ContextTooLong, match=r"32 tokens; the context is 32"):
        engine.add([1] * 32, SamplingParams())
    with pytest.raises(ValueError, match="empty"):
        engine.add([], SamplingParams())
    with pytest.raises(ValueError, match=f"token {END + 1}; the vocabulary ends at {END}"):
        engine.add([END + 1], SamplingParams())
    with pytest.raises(ValueError, match="logit_bias has token -1"):
        engine.add([1], SamplingParams(logit_bias={-1: 1.0}))
    engine.add([1], SamplingParams())
    engine.add([1], SamplingParams())
    with pytest.raises(QueueFull, match="2 of at most 2"):
        engine.add([1], SamplingParams())


def test_a_prompt_that_fills_the_whole_cache_still_runs(make_engine) -> None:
    probe = make_engine()._runner.cache
    engine = make_engine(cache_bytes=4 * probe.bytes_per_slot + 5 * probe.bytes_per_page, max_snapshots=1)
    assert engine.max_context == engine.memory.pages.num_pages * 8 < 256
    for _ in range(2):  # the second time there is no room for it beside the snapshot that it could continue
        ((completion,),) = engine.generate([[1] * (engine.max_context - 1)], SamplingParams(max_tokens=9))
        assert len(completion.token_ids) == 1


class Traffic(RuleBasedStateMachine):
    """Random requests, steps and cancellations: pages and slots have one owner each, always."""

    engine: Engine
    make = None

    def __init__(self) -> None:
        super().__init__()
        self.engine = Traffic.make()
        self.open: list[int] = []

    @rule(start=st.integers(0, 5), length=st.integers(1, 40), reply=st.integers(1, 12), n=st.integers(1, 2))
    def add(self, start: int, length: int, reply: int, n: int) -> None:
        prompt = [(start * 7 + i) % END for i in range(length)]
        self.open.append(self.engine.add(prompt, SamplingParams(max_tokens=reply, seed=start, n=n)))

    @rule()
    def step(self) -> None:
        self.engine.step()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.engine.cancel(self.open.pop(data.draw(st.integers(0, len(self.open) - 1))))

    @invariant()
    def every_page_and_slot_has_its_owners(self) -> None:
        memory = self.engine.memory
        holders = [s.pages for s in self.engine.scheduler.running] + [s.pages for s in memory.prefixes]
        references = [sum(pages.count(page) for pages in holders) for page in range(memory.pages.num_pages)]
        assert references == memory.pages._references
        slots = [s.slot for s in self.engine.scheduler.running] + [s.slot for s in memory.prefixes]
        assert len(slots) == len(set(slots)) == memory.slots.num_slots - memory.slots.num_free

    def teardown(self) -> None:
        for _ in range(3000):
            if not self.engine.has_work:
                break
            self.engine.step()
        assert_nothing_leaks(self.engine)


def test_random_traffic_leaks_nothing(models, letters) -> None:
    probe = Engine(models["hybrid"], letters, options=EngineOptions(page_size=8, cache_bytes=1 << 20))._runner.cache
    options = EngineOptions(
        page_size=8,
        cache_bytes=7 * probe.bytes_per_slot + 14 * probe.bytes_per_page,
        max_running=3,
        max_snapshots=4,
        max_tokens_per_step=12,
        max_context=80,
    )
    Traffic.make = lambda: Engine(models["hybrid"], letters, options=options)
    machine = Traffic.TestCase
    machine.settings = settings(max_examples=12, stateful_step_count=40, deadline=None)
    machine().runTest()
