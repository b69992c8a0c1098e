"""Logits to tokens: penalties and bias, grammar mask, temperature, top-k, top-p, min-p, and a draw that repeats.

A draw depends on the request's seed, the choice and the position alone, never on the rest of the batch or on any
generator's history, so that a request repeats itself in any company and after any preemption.

Rows are worked on one by one in numpy: their options differ, and its sort and selection take a tenth of torch's time
on a CPU. A vocabulary is never sorted whole: a few cuts find the tokens that top-p can reach.
"""

import hashlib
import math
from collections.abc import Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fulmen.engine.request import Sampled
from fulmen.trace import SamplingParams

Row = NDArray[np.float32]

_CUTS = (1e-3, 1e-6, 0.0)  # fractions of the likeliest token's probability
_COLDEST = 1e-6  # temperatures below are as good as greedy, and would overflow
_BARRED = np.array([-np.inf, 0], dtype=np.float32)  # what a grammar adds to tokens that it forbids, and allows


@dataclass(frozen=True, slots=True)
class Draw:
    """What the sampler needs of a row."""

    params: SamplingParams
    seed: int
    choice: int
    position: int
    """Of the token in the reply."""
    prompt: frozenset[int]
    """Tokens of the prompt, for the repetition penalty; may be empty without one."""
    counts: Mapping[int, int]
    """Tokens of the reply and how often each stands there."""
    mask: NDArray[np.uint8] | None
    """uint8 [vocab]: 1 where the grammar allows the token; None: everywhere."""


def uniform(seed: int, choice: int, position: int) -> float:
    """A number in [0, 1) that belongs to a position of a reply."""
    key = f"{seed}/{choice}/{position}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=6).digest(), "big") / 2**48


def sample(logits: Tensor, draws: Rows[Draw]) -> list[Sampled]:
    """One token for each row of logits, float32 [rows, vocab]."""
    return [_sample(row, draw) for row, draw in zip(logits.cpu().numpy(), draws, strict=True)]


def _sample(row: Row, draw: Draw) -> Sampled:
    params = draw.params
    norm = _logsumexp(row)
    shaped = _shape(row, draw)
    if params.temperature < _COLDEST:
        token, logprob = int(shaped.argmax()), None
    else:
        token, logprob = _draw(shaped, params, uniform(draw.seed, draw.choice, draw.position))
    model_logprob = float(row[token]) - norm
    return Sampled(
        token=token,
        logprob=model_logprob if logprob is None else logprob,
        model_logprob=model_logprob,
        top=_top_logprobs(row, norm, params.top_logprobs),
    )


def _logsumexp(row: Row) -> float:
    best = row.max()
    return float(best) + math.log(np.exp(row - best).sum(dtype=np.float64))


def _top_logprobs(row: Row, norm: float, count: int) -> tuple[tuple[int, float], ...]:
    if not count:
        return ()
    tokens = np.argpartition(row, -count)[-count:] if count < len(row) else np.arange(len(row))
    tokens = tokens[np.argsort(-row[tokens], kind="stable")]
    return tuple((int(token), float(row[token]) - norm) for token in tokens if row[token] > -np.inf)


def _shape(row: Row, draw: Draw) -> Row:
    """Penalties, bias and grammar, on a copy of a row [vocab] if there are any."""
    params = draw.params
    penalised = bool(draw.counts) and bool(params.presence_penalty or params.frequency_penalty)
    if params.repetition_penalty == 1 and not penalised and not params.logit_bias:
        return row if draw.mask is None else row + _BARRED.take(draw.mask)
    row = row.copy()
    if params.repetition_penalty != 1:
        seen = np.fromiter(draw.prompt | draw.counts.keys(), dtype=np.int64)
        values, penalty = row[seen], np.float32(params.repetition_penalty)
        row[seen] = np.where(values > 0, values / penalty, values * penalty)
    if penalised:
        tokens = np.fromiter(draw.counts.keys(), dtype=np.int64, count=len(draw.counts))
        counts = np.fromiter(draw.counts.values(), dtype=np.float32, count=len(draw.counts))
        row[tokens] -= params.presence_penalty + params.frequency_penalty * counts
    for token, bias in params.logit_bias.items():
        row[token] += bias
    return row if draw.mask is None else row + _BARRED.take(draw.mask)


def _draw(row: Row, params: SamplingParams, chance: float) -> tuple[int, float]:
    """The token that `chance` in [0, 1) falls on, and its log-probability under the truncated distribution."""
    scaled = (row - row.max()) / np.float32(params.temperature)  # [vocab], at most 0
    weights = np.exp(scaled)  # the likeliest token's is 1
    kept = _kept(weights, params)
    if kept is not None:
        weights = weights[kept]
    totals = torch.from_numpy(weights).cumsum(0, dtype=torch.float64).numpy()  # numpy's takes ten times as long
    place = int(totals.searchsorted(chance * totals[-1], side="right"))
    token = place if kept is None else int(kept[place])
    return token, float(scaled[token]) - math.log(totals[-1])


def _kept(weights: Row, params: SamplingParams) -> NDArray[np.int64] | None:
    """Ids of the tokens that top-k, top-p and min-p leave, ascending; None when they leave all."""
    values = weights
    if 0 < params.top_k < len(values):
        values = np.partition(values, -params.top_k)[-params.top_k :]
    if params.top_p < 1:
        values = _nucleus(values, params.top_p)
    if params.min_p > 0:
        values = values[values >= params.min_p]
    if len(values) == len(weights):
        return None
    floor = values.min()
    kept = np.flatnonzero(weights >= floor)
    if len(kept) > len(values):  # of tokens that tie for the last places, the first ones stay
        ties = np.flatnonzero(weights == floor)[len(values) - len(kept) :]
        kept = np.setdiff1d(kept, ties, assume_unique=True)
    return kept


def _nucleus(values: Row, top_p: float) -> Row:
    """The fewest largest values that hold at least top_p of the sum, descending; at least one."""
    goal = top_p * values.sum(dtype=np.float64)
    for cut in _CUTS:
        largest = values[values >= cut]
        if largest.sum(dtype=np.float64) >= goal:
            break
    largest = np.sort(largest)[::-1]
    return largest[: int(largest.cumsum(dtype=np.float64).searchsorted(goal)) + 1]
