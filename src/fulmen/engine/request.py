"""A request and its sequences: tokens, what of them is computed, what they own, and when a reply must end. No torch.

A `Sequence` is one of a request's n completions. Its tokens grow at the end; `computed` of them are in the cache.
Pending tokens are those not computed yet: a prompt, the token sampled last, tokens that were forced, or everything
again after a preemption. All four are the same work for the scheduler.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

from fulmen.trace import FinishReason, SamplingParams, TokenEvent, Vocabulary


class QueueFull(RuntimeError):
    """Too many replies are open already; try again later."""

    @classmethod
    def at(cls, num_open: int, limit: int) -> "QueueFull":
        """Say how many replies are open, each of a request's n counted, and how many may be."""
        return cls(f"{num_open} of at most {limit} replies are open; try again later")


class ContextTooLong(ValueError):
    """A prompt does not fit, with room for one token of reply."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """A token that the sampler chose."""

    token: int
    logprob: float
    """Under the distribution that it was drawn from; of a greedy choice, under the model's."""
    model_logprob: float
    """Under the model's own distribution."""
    top: tuple[tuple[int, float], ...] = ()
    """The model's most likely tokens with their log-probabilities, as many as the request asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What was asked: a prompt and how to continue it."""

    id: int
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    seed: int
    """The caller's seed, or one drawn for the request."""


@dataclass(slots=True, eq=False)
class Sequence:
    """One completion of a request on its way."""

    request: Request
    choice: int
    tokens: list[int]
    """Prompt and reply."""
    computed: int = 0
    pages: list[int] = field(default_factory=list)
    slot: int | None = None
    cached_tokens: int = 0
    """Prompt tokens that the prefix store spared, at the first admission."""
    snapshot_at: list[int] = field(default_factory=list)
    """Lengths at which the store wants a snapshot, ascending; chunks stop there."""
    finish_reason: FinishReason | None = None

    @property
    def params(self) -> SamplingParams:
        """How it is sampled."""
        return self.request.params

    @property
    def num_prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.request.prompt_ids)

    @property
    def num_reply(self) -> int:
        """Tokens of the reply so far."""
        return len(self.tokens) - self.num_prompt

    @property
    def pending(self) -> int:
        """Tokens that the cache lacks; a running sequence has at least one."""
        return len(self.tokens) - self.computed


class Reply:
    """Watches the reply of one sequence: stop strings, thinking budget, repetition, limits.

    It reads bytes, because a stop string or `</think>` may begin and end inside tokens.
    """

    def __init__(self, sequence: Sequence, vocabulary: Vocabulary, max_context: int) -> None:
        self._sequence = sequence
        self._vocabulary = vocabulary
        params = sequence.params
        room = max_context - sequence.num_prompt
        self._max_tokens = room if params.max_tokens is None else min(params.max_tokens, room)
        self._stops = [(text, text.encode()) for text in params.stop]
        budget = params.thinking_budget
        self._thinking = budget is not None and budget.open
        self._may_open = budget is not None and not budget.open
        self._thought = 0
        self._confident = 0
        self._text = bytearray()
        tags = [] if budget is None else [budget.close_text]
        self._tail = max((len(text.encode()) for text in [*params.stop, *tags]), default=1)
        self.counts: Counter[int] = Counter()
        """How often each token stands in the reply (for penalties)."""

    def force(self) -> tuple[int, ...]:
        """The tokens that must come next: the closing of the thinking when its budget is spent, else none."""
        budget = self._sequence.params.thinking_budget
        if budget is None or not self._thinking or self._thought < budget.tokens:
            return ()
        return budget.close_ids

    def add_forced(self, token: int) -> TokenEvent:
        """Take a token that was not sampled; the event says if it was the last."""
        return self._add(Sampled(token=token, logprob=0.0, model_logprob=0.0), sampled=False)

    def add(self, chosen: Sampled) -> TokenEvent:
        """Take a sampled token; the event says if it was the last."""
        return self._add(chosen, sampled=True)

    def _add(self, chosen: Sampled, *, sampled: bool) -> TokenEvent:
        sequence, token = self._sequence, chosen.token
        sequence.tokens.append(token)
        self.counts[token] += 1
        stop_string = self._read(token)
        sequence.finish_reason = self._reason(chosen, stop_string, sampled)
        return TokenEvent(
            choice=sequence.choice,
            index=sequence.num_reply - 1,
            token_id=token,
            logprob=chosen.logprob,
            model_logprob=chosen.model_logprob,
            sampled=sampled,
            top_logprobs=chosen.top,
            finish_reason=sequence.finish_reason,
            stop_string=stop_string,
            cached_tokens=sequence.cached_tokens,
        )

    def _read(self, token: int) -> str | None:
        """Follow the text: whether it thinks, and the stop string that the token completes."""
        data = self._vocabulary.token_bytes[token]
        self._text += data
        window = bytes(self._text[-(self._tail + len(data)) :])
        budget = self._sequence.params.thinking_budget
        if budget is not None:
            if self._thinking:
                self._thought += 1
                self._thinking = budget.close_text.encode() not in window
            elif self._may_open:  # where the reply begins, after white space at most; later the tag is text
                text = self._text.decode("utf-8", "ignore").lstrip()
                self._thinking = text.startswith(budget.open_text)
                self._may_open = not self._thinking and budget.open_text.startswith(text)
        found = [(window.find(encoded), text) for text, encoded in self._stops if encoded in window]
        return min(found)[1] if found else None

    def _reason(self, chosen: Sampled, stop_string: str | None, sampled: bool) -> FinishReason | None:
        params = self._sequence.params
        if stop_string is not None:
            return "stop"
        if not params.ignore_eos and sampled and chosen.token in self._vocabulary.eos_token_ids:
            return "stop"
        limit = params.repetition_stop
        if limit is not None and sampled:
            self._confident = self._confident + 1 if math.exp(chosen.model_logprob) > limit.probability else 0
            if self._confident >= limit.tokens:
                return "repetition"
        return "length" if self._sequence.num_reply >= self._max_tokens else None
