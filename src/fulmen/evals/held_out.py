"""A policy on held-out examples of a task: the mean score with its error, what it cost, and what went wrong.

The same path as a rollout of reinforcement learning, without a gradient.
"""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fulmen.chat.message import Message
from fulmen.rollout.policy import Conversation, Policy, PolicyReply
from fulmen.tasks.task import Example, Score, Task

MAX_FAILURES = 10
"""Failures that a result keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings:
    """How a model is evaluated.

    Example: `EvaluationSettings(count=500, seed=1, max_tokens=256)` is greedy, as the default is.
    """

    count: int = 500
    """Examples of each task."""
    seed: int = 1
    """Of the examples, and of the sampling."""
    temperature: float = 0.0
    max_tokens: int = 512
    """Most tokens of one reply."""
    thinking_budget: int | None = None
    batch: int = 32
    """Replies written side by side."""
    max_context: int | None = None
    """Tokens of prompt and reply; None: what the model is meant for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A reply that was not fully right, for a human to read.

    Example: `Failure(index=7, messages=(...), reply=Message(role="assistant", content="41"), reference="42",
    value=0.0, why="the answer is 41, and 42 was expected", finish_reason="stop")`.
    """

    index: int
    """Of the example, from 0."""
    messages: tuple[Message, ...]
    reply: Message
    reference: Any
    value: float
    why: str
    finish_reason: str

    def to_json(self) -> dict[str, Any]:
        """Return it with its messages in OpenAI's form."""
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return facts | {"messages": [m.to_openai() for m in self.messages], "reply": self.reply.to_openai()}


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """What a policy reached in one task.

    Example: `TaskResult(task="addition", count=500, seed=1, mean=0.962, standard_error=0.0086, fully_right=0.962,
    parts={}, mean_tokens=31.5, cut=2, seconds=12.1, failures=(...))`.
    """

    task: str
    count: int
    seed: int
    mean: float
    """Of the scores."""
    standard_error: float
    """Of the mean."""
    fully_right: float
    """The fraction of replies that scored 1."""
    parts: Mapping[str, float]
    """Each part of the scores, averaged over the examples that have it."""
    mean_tokens: float
    """Of a reply, its end token included."""
    cut: int
    """Replies that reached a limit of length instead of their end."""
    seconds: float
    failures: tuple[Failure, ...]
    """The worst ones, lowest score first."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-like data."""
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return facts | {"parts": dict(self.parts), "failures": [failure.to_json() for failure in self.failures]}


def evaluate(
    task: Task, policy: Policy, *, count: int, seed: int, report: Callable[[int], None] = lambda done: None
) -> TaskResult:
    """Ask `policy` the first `count` examples of the task's test split and score the replies.

    Args:
        task: whose examples and whose judgement.
        policy: answers, as many at once as it can.
        count: examples; a task with fewer gives all that it has.
        seed: of the examples.
        report: called with the number of replies that have been scored.

    Raises:
        ValueError: `count` is below 1, the task has no example, or the policy can't answer one.
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least one example is needed")
    examples = list(itertools.islice(task.examples("test", seed), count))
    if not examples:
        raise ValueError(f"task {task.name} has no test example for seed {seed}")
    start = time.perf_counter()
    answered: dict[int, tuple[Score, PolicyReply]] = {}
    conversations = [Conversation(messages=example.messages, tools=example.tools) for example in examples]
    for index, reply in policy.replies(conversations):
        answered[index] = task.score(examples[index], reply.message), reply
        report(len(answered))
    in_order = [answered[index] for index in range(len(examples))]
    return _summary(task.name, seed, examples, in_order, time.perf_counter() - start)


def _summary(
    name: str, seed: int, examples: Sequence[Example], answered: Sequence[tuple[Score, PolicyReply]], seconds: float
) -> TaskResult:
    values = [score.value for score, _ in answered]
    parts: dict[str, list[float]] = {}
    for score, _ in answered:
        for part, value in score.parts.items():
            parts.setdefault(part, []).append(value)
    wrong = sorted((index for index, value in enumerate(values) if value < 1), key=values.__getitem__)
    completions = [reply.completion for _, reply in answered]
    return TaskResult(
        task=name,
        count=len(values),
        seed=seed,
        mean=statistics.fmean(values),
        standard_error=statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0,
        fully_right=sum(value == 1 for value in values) / len(values),
        parts={part: statistics.fmean(numbers) for part, numbers in parts.items()},
        mean_tokens=statistics.fmean(len(completion.token_ids) for completion in completions),
        cut=sum(completion.finish_reason != "stop" for completion in completions),
        seconds=seconds,
        failures=tuple(_failure(index, examples[index], *answered[index]) for index in wrong[:MAX_FAILURES]),
    )


def _failure(index: int, example: Example, score: Score, reply: PolicyReply) -> Failure:
    return Failure(
        index=index,
        messages=example.messages,
        reply=reply.message,
        reference=example.reference,
        value=score.value,
        why=score.why,
        finish_reason=reply.completion.finish_reason,
    )
