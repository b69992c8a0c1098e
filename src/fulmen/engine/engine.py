"""The engine: requests in, token events out, one step at a time. Synchronous; `service` gives it a thread.

A step is one sentence: schedule, run, sample, commit.
"""

import dataclasses
import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fulmen.engine.contexts import NO_NOTES, read_context, write_context
from fulmen.engine.grammar import Constraint, Grammars
from fulmen.engine.memory import CacheMemory
from fulmen.engine.request import ContextTooLong, QueueFull, Reply, Request, Sampled
from fulmen.engine.request import Sequence as Running
from fulmen.engine.runner import Runner
from fulmen.engine.sampler import Draw, sample
from fulmen.engine.scheduler import Scheduler, Work
from fulmen.model.cache import HybridCache
from fulmen.model.decoder import Decoder
from fulmen.trace import Completion, SamplingParams, TokenEvent, Vocabulary


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How much an engine takes on at once.

    Example: `EngineOptions(max_running=4, cache_bytes=256 << 20)`.
    """

    max_context: int | None = None
    """Tokens of one sequence, prompt and reply; None: what the model is meant for. The cache may allow less."""
    max_tokens_per_step: int = 2048
    """Tokens of one forward pass: long prompts are computed in chunks beside the replies that are being decoded."""
    max_running: int = 32
    """Sequences that are computed side by side."""
    max_queue: int = 256
    """Sequences that may be open beyond `max_running`; more are refused with `QueueFull`."""
    page_size: int = 64
    """Tokens of keys and values in one page."""
    cache_bytes: int = 2 << 30
    """Memory of pages and states together; what is not touched is not taken from the machine."""
    prefix_store: bool = True
    """Whether finished prompts and replies are kept, so that those who continue them start there."""
    max_snapshots: int = 64
    """States kept by the prefix store, if the memory allows."""


@dataclass(slots=True, eq=False)
class _Active:
    """What the engine keeps beside a sequence."""

    reply: Reply
    constraint: Constraint | None
    prompt: frozenset[int]
    """Tokens of the prompt if a repetition penalty asks for them."""


class Engine:
    """Continuous batching for one model.

    Example::

        engine = Engine(model, tokenizer)
        engine.generate([tokenizer.encode("Once")], SamplingParams(max_tokens=16))[0][0].token_ids
    """

    def __init__(self, model: Decoder, vocabulary: Vocabulary, *, options: EngineOptions | None = None) -> None:
        self.options = options or EngineOptions()
        self.model, self.vocabulary = model, vocabulary
        self.vocab_size = min(model.config.vocab_size, len(vocabulary.token_bytes))  # heads are often padded beyond it
        self.weight_version = 0
        cache = allocate_cache(model, self.options)
        self._runner = Runner(model, cache)
        self.memory = CacheMemory(
            self._runner,
            num_pages=cache.num_pages,
            num_slots=cache.num_slots,
            page_size=cache.page_size,
            keeps_prefixes=self.options.prefix_store,
        )
        self.scheduler = Scheduler(
            self.memory, max_tokens_per_step=self.options.max_tokens_per_step, max_running=self.options.max_running
        )
        limit = self.options.max_context or model.config.max_context
        self.max_context = min(limit, cache.num_pages * cache.page_size) if cache.num_pages else limit
        self._grammars = Grammars(vocabulary, self.vocab_size)
        self._ids = itertools.count()
        self._active: dict[Running, _Active] = {}
        self._events: list[tuple[int, TokenEvent]] = []

    @property
    def has_work(self) -> bool:
        """Whether a step would do or report anything."""
        return bool(self._events or self._active)

    @property
    def max_open(self) -> int:
        """Sequences that may run or wait at once."""
        return self.options.max_running + self.options.max_queue

    def check(self, prompt_ids: Sequence[int], params: SamplingParams) -> None:
        """Refuse what can never run: ContextTooLong; ValueError for no prompt, an unknown token or too large an n."""
        if params.n > self.max_open:
            raise ValueError(f"n is {params.n}; at most {self.max_open} replies may be open at once")
        if not prompt_ids:
            raise ValueError("the prompt is empty: it needs at least one token")
        if len(prompt_ids) >= self.max_context:
            raise ContextTooLong(
                f"the prompt has {len(prompt_ids):,} tokens; the context is {self.max_context:,}, reply included"
            )
        for name, tokens in (("the prompt", prompt_ids), ("logit_bias", params.logit_bias)):
            for token in (min(tokens, default=0), max(tokens, default=0)):
                if not 0 <= token < self.vocab_size:
                    raise ValueError(f"{name} has token {token}; the vocabulary ends at {self.vocab_size - 1}")

    def compile(self, params: SamplingParams) -> Constraint | None:
        """The request's grammar, compiled; ValueError says what is wrong with it. Safe from any thread."""
        return None if params.grammar is None else self._grammars.compile(params.grammar)

    def add(self, prompt_ids: Sequence[int], params: SamplingParams, *, constraint: Constraint | None = None) -> int:
        """Queue a request and return its id; `constraint` is its grammar if it has been compiled already."""
        self.check(prompt_ids, params)
        if len(self._active) + params.n > self.max_open:
            raise QueueFull.at(len(self._active), self.max_open)
        constraint = constraint or self.compile(params)
        seed = random.getrandbits(62) if params.seed is None else params.seed
        request = Request(id=next(self._ids), prompt_ids=tuple(prompt_ids), params=params, seed=seed)
        prompt = frozenset(prompt_ids) if params.repetition_penalty != 1 else frozenset()
        for choice in range(params.n):
            sequence = Running(request, choice, list(prompt_ids))
            reply = Reply(sequence, self.vocabulary, self.max_context)
            self._active[sequence] = _Active(reply, constraint.copy() if constraint else None, prompt)
            self.scheduler.waiting.append(sequence)
            self._force(sequence)
        return request.id

    def cancel(self, request_id: int) -> None:
        """End a request and free what it owns; its last events say so. An unknown or ended id is no error."""
        for sequence in [s for s in self._active if s.request.id == request_id]:
            event = TokenEvent(
                choice=sequence.choice, index=sequence.num_reply, token_id=None, finish_reason="cancelled"
            )
            self._events.append((request_id, event))
            self._end(sequence)

    def step(self) -> list[tuple[int, TokenEvent]]:
        """Schedule, run, sample, commit: one forward pass. Returns (request id, event) of every new token."""
        works = self.scheduler.schedule()
        if works:
            logits = self._runner.run(works)
            draws = [self._draw(work.sequence) for work in works if work.samples]
            self._commit(works, sample(logits[:, : self.vocab_size], draws) if logits is not None else [])
        events, self._events = self._events, []
        return events

    def generate(self, prompts: Iterable[Sequence[int]], params: SamplingParams) -> list[list[Completion]]:
        """Complete each prompt `params.n` times, and wait for all."""
        ids = [self.add(prompt, params) for prompt in prompts]
        events: dict[tuple[int, int], list[TokenEvent]] = {
            (request, choice): [] for request in ids for choice in range(params.n)
        }
        others = []
        while any(not e or e[-1].finish_reason is None for e in events.values()):
            for request, event in self.step():
                if (request, event.choice) in events:
                    events[request, event.choice].append(event)
                else:
                    others.append((request, event))
        self._events = others + self._events  # of requests that somebody else steps for
        version = self.weight_version
        return [[completion_of(events[request, choice], version) for choice in range(params.n)] for request in ids]

    def save_context(self, path: Path, token_ids: Sequence[int], *, notes: Mapping[str, str] = NO_NOTES) -> None:
        """Compute `token_ids` unless the prefix store knows them, and write pages, states and `notes` to one file."""
        if not self.memory.keeps_prefixes:
            raise ValueError("contexts are saved from the prefix store, and this engine has none")
        self.check(token_ids, SamplingParams())
        if not self.memory.prefixes.contains(token_ids):
            self.generate([token_ids], SamplingParams(temperature=0.0, max_tokens=1))
        snapshot = self.memory.prefixes.match(token_ids, len(token_ids)).snapshot
        if snapshot is None or snapshot.length != len(token_ids):
            raise ValueError("no room for a snapshot: every state slot is in use; save when fewer requests run")
        write_context(path, self._runner.cache, snapshot, token_ids, self.model, notes)

    def load_context(self, path: Path) -> tuple[int, ...]:
        """Read a saved context into the prefix store and return its tokens: prompts that begin so continue there."""
        context = read_context(path, self.model)
        self.check(context.token_ids, SamplingParams())
        if not self.memory.prefixes.contains(context.token_ids):
            pages, slot = self.memory.take(len(context.token_ids))
            context.copy_to(self._runner.cache, pages, slot)
            self.memory.prefixes.insert(context.token_ids, pages, slot)
        return context.token_ids

    def _draw(self, sequence: Running) -> Draw:
        active = self._active[sequence]
        return Draw(
            params=sequence.params,
            seed=sequence.request.seed,
            choice=sequence.choice,
            position=sequence.num_reply,
            prompt=active.prompt,
            counts=active.reply.counts,
            mask=active.constraint.mask() if active.constraint else None,
        )

    def _commit(self, works: list[Work], sampled: list[Sampled]) -> None:
        """Write down what the step did: computed lengths, snapshots, new tokens, ends."""
        tokens = iter(sampled)
        for work in works:
            sequence, samples = work.sequence, work.samples
            sequence.computed += work.length
            if sequence.computed in sequence.snapshot_at:
                self.memory.remember(sequence)
            if samples:
                active = self._active[sequence]
                self._take(sequence, active.reply.add(next(tokens)))
                if sequence in self._active:
                    self._force(sequence)

    def _force(self, sequence: Running) -> None:
        """Append the tokens that must come next, if any; the next step computes them."""
        for token in self._active[sequence].reply.force():
            if sequence in self._active:
                self._take(sequence, self._active[sequence].reply.add_forced(token))

    def _take(self, sequence: Running, event: TokenEvent) -> None:
        constraint = self._active[sequence].constraint
        if constraint is not None and event.token_id is not None:
            constraint.consume(event.token_id)
            if constraint.failed:
                event = dataclasses.replace(event, finish_reason="grammar")
            elif constraint.complete and event.finish_reason is None:
                event = dataclasses.replace(event, finish_reason="stop")
        self._events.append((sequence.request.id, event))
        if event.finish_reason is not None:
            if sequence in self.scheduler.running:
                self.memory.remember(sequence)
            self._end(sequence)

    def _end(self, sequence: Running) -> None:
        del self._active[sequence]
        self.scheduler.finish(sequence)


def allocate_cache(model: Decoder, options: EngineOptions) -> HybridCache:
    """Slots for running sequences and snapshots, at most half of the memory; pages for the rest, within need."""
    config, weight = model.config, model.model.norm.weight
    probe = HybridCache(config, num_pages=1, num_slots=1, page_size=options.page_size, dtype=weight.dtype)
    num_slots = options.max_running + (options.max_snapshots if options.prefix_store else 0)
    if probe.bytes_per_slot:
        num_slots = max(2, min(num_slots, options.cache_bytes // 2 // probe.bytes_per_slot))
    num_pages = 0
    if probe.bytes_per_page:
        longest = -(-(options.max_context or config.max_context) // options.page_size)
        room = (options.cache_bytes - num_slots * probe.bytes_per_slot) // probe.bytes_per_page
        num_pages = max(2, min(room, longest * options.max_running))
    return HybridCache(
        config,
        num_pages=num_pages,
        num_slots=num_slots,
        page_size=options.page_size,
        dtype=weight.dtype,
        device=weight.device,
    )


def completion_of(events: Sequence[TokenEvent], weight_version: int = 0) -> Completion:
    """The events of one choice, from the first to the one with a finish reason, as a completion."""
    tokens = [event for event in events if event.token_id is not None]
    last = events[-1]
    assert last.finish_reason is not None, "the completion has not ended"
    return Completion(
        token_ids=tuple(event.token_id for event in tokens if event.token_id is not None),
        logprobs=tuple(event.logprob for event in tokens),
        sampled=tuple(event.sampled for event in tokens),
        finish_reason=last.finish_reason,
        top_logprobs=tuple(event.top_logprobs for event in tokens),
        stop_string=last.stop_string,
        cached_tokens=last.cached_tokens,
        weight_version=weight_version,
    )
