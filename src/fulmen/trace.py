"""What passes between the parts: sampled tokens, completions, and what reinforcement learning keeps of them.

A token is recorded when it is sampled and never tokenised again. Each carries whether it was sampled or forced
(by a template, a tool result, a spent thinking budget) and the log-probability under the distribution that it was
sampled from: training uses sampled tokens only. No torch here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "cancelled", "repetition", "grammar"]
"""Why a completion ended: an end token or stop string; the token or context limit; the caller; confident repetition;
a grammar that could not be followed to its end."""


class Vocabulary(Protocol):
    """What the engine must know of a tokenizer: its tokens, those that end a reply, and how it cuts a text."""

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """The bytes that each id stands for; empty for special tokens."""
        ...

    @property
    def special_token_ids(self) -> frozenset[int]:
        """Ids of control tokens, which are no text."""
        ...

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Ids that end a reply."""
        ...

    def encode(self, text: str) -> list[int]:
        """Cut a text into ids of no control tokens; asked for by grammars only."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """A constraint on the sampled text, in a syntax that the engine's grammar library compiles.

    Example: `Grammar(kind="regex", source="yes|no")`.
    """

    kind: Literal["json_schema", "regex", "lark"]
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ThinkingBudget:
    """How long a reply may think: when `tokens` are spent, the engine forces `close_ids` and the answer follows.

    Example: 40,000 tokens for a template whose prompt ends inside the thinking already::

        ThinkingBudget(tokens=40_000, open_text="<think>", close_text="</think>", close_ids=(524, 826), open=True)
    """

    tokens: int
    open_text: str
    """Text that opens the thinking; recognised in the bytes of the reply, as it need not be one token."""
    close_text: str
    close_ids: tuple[int, ...]
    """What the engine forces when the budget is spent: the closing text, with the line breaks that follow it."""
    open: bool
    """True: the prompt ends inside the thinking, so that the reply's first token is a thought already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RepetitionStop:
    """End a reply that repeats itself with confidence (report, section 3): many tokens in a row above a probability."""

    tokens: int = 3000
    probability: float = 0.99


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """How one request is sampled. Order: penalties and bias, grammar, temperature, top-k, top-p, min-p.

    Example: greedy with at most 64 tokens: `SamplingParams(temperature=0.0, max_tokens=64)`.
    """

    temperature: float = 1.0
    """0 means greedy."""
    top_p: float = 0.95
    top_k: int = 0
    """Keep the k most likely; 0 keeps all."""
    min_p: float = 0.0
    """Keep tokens at least this fraction as likely as the likeliest."""
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    seed: int | None = None
    """Same seed, same prompt: same tokens, whatever else is in the batch. None draws one."""
    n: int = 1
    max_tokens: int | None = None
    """Most tokens of the reply; None: up to the context limit."""
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    top_logprobs: int = 0
    """Report the log-probabilities of so many most likely tokens with each token."""
    grammar: Grammar | None = None
    thinking_budget: ThinkingBudget | None = None
    repetition_stop: RepetitionStop | None = RepetitionStop()

    def __post_init__(self) -> None:
        limits = (
            ("temperature", self.temperature, 0.0, 100.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0),
            ("repetition_penalty", self.repetition_penalty, 0.01, 100.0),
            ("top_k", self.top_k, 0, 1 << 30),
            ("n", self.n, 1, 128),
            ("top_logprobs", self.top_logprobs, 0, 20),
            ("max_tokens", 1 if self.max_tokens is None else self.max_tokens, 1, 1 << 40),
        )
        for name, value, low, high in limits:
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it must be within {low} and {high}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenEvent:
    """One token of one completion, as the engine emits it; the last one carries the finish reason.

    Example: the sampled token 7042, fourth of the reply, from a request that asked for two alternatives::

        TokenEvent(choice=0, index=3, token_id=7042, logprob=-0.17, model_logprob=-0.21, sampled=True,
                   top_logprobs=((7042, -0.21), (284, -1.9)))
    """

    choice: int
    """Which of the request's n completions."""
    index: int
    """Position in the completion, from 0."""
    token_id: int | None
    """None when the completion ends without a further token (cancelled, or no room for one)."""
    logprob: float = 0.0
    """Natural logarithm of its probability under the distribution sampled from; 0 for a forced token."""
    model_logprob: float = 0.0
    """The same under the model's own distribution, before penalties, grammar, temperature and truncation."""
    sampled: bool = True
    top_logprobs: tuple[tuple[int, float], ...] = ()
    """(id, log-probability) of the most likely tokens by the model, best first, when the request asked for them."""
    finish_reason: FinishReason | None = None
    stop_string: str | None = None
    """The stop string that ended the completion; readers cut the text before it."""
    cached_tokens: int = 0
    """Prompt tokens that came from the prefix store instead of being computed; the same in all events."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """A finished reply in tokens.

    Example::

        Completion(token_ids=(504, 3, 2), logprobs=(-0.1, -2.3, 0.0), sampled=(True, True, False), finish_reason="stop")
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampled: tuple[bool, ...]
    finish_reason: FinishReason
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
    stop_string: str | None = None
    cached_tokens: int = 0
    weight_version: int = 0
    """Which weights sampled it: raised each time that the trainer's weights reach the engine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One exchange of a trajectory: the ids that the policy was shown beyond the turns before, and its completion.

    Example: `Turn(prompt_ids=(1, 88, 9), completion=...)`; the tokens of all turns, prompt then completion and in
    order, are exactly what the model saw.
    """

    prompt_ids: tuple[int, ...]
    completion: Completion


@dataclass(frozen=True, kw_only=True, slots=True)
class Trajectory:
    """An episode of a policy in a task, from the first prompt to the last completion.

    Example: a calculator episode is two turns: the question and a tool call; the tool's result and the answer.
    """

    turns: tuple[Turn, ...]
    reward: float | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSample:
    """One sequence to train on: flat tokens and one column per quantity, all of the same length.

    Example: a prompt of two tokens and a reply of two, supervised::

        TrainingSample(token_ids=(5, 6, 7, 2), mask=(False, False, True, True), weights=(0.0, 0.0, 1.0, 1.0))

    Reinforcement learning fills `logprobs` and `advantages` too; there is no split into prompt and completion.
    """

    token_ids: tuple[int, ...]
    mask: tuple[bool, ...]
    """True where the token is a target."""
    weights: tuple[float, ...]
    logprobs: tuple[float, ...] | None = None
    advantages: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        columns = {"mask": self.mask, "weights": self.weights, "logprobs": self.logprobs, "advantages": self.advantages}
        for name, column in columns.items():
            if column is not None and len(column) != len(self.token_ids):
                raise ValueError(f"{name} has {len(column)} entries for {len(self.token_ids)} tokens")
