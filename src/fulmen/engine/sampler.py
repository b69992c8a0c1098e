"""Logits to tokens: penalties and bias, grammar mask, temperature, top-k, top-p, min-p, and a draw that repeats.

A draw depends on the request's seed, the choice and the position alone, never on the rest of the batch or on any
generator's history, so that a request repeats itself in any company and after any preemption.
"""

import hashlib
import math
from collections.abc import Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass

import torch
from torch import Tensor

from fulmen.engine.request import Sampled
from fulmen.trace import SamplingParams

_NUCLEUS = 512  # most likely tokens that are sorted first: nearly always they hold all of top-p


@dataclass(frozen=True, slots=True)
class Draw:
    """What the sampler needs of a row."""

    params: SamplingParams
    seed: int
    choice: int
    position: int
    """Of the token in the reply."""
    prompt: tuple[int, ...]
    counts: Mapping[int, int]
    """Tokens of the reply and how often each stands there."""
    mask: Tensor | None
    """bool [vocab]: what the grammar allows; None: everything."""


def uniform(seed: int, choice: int, position: int) -> float:
    """A number in [0, 1) that belongs to a position of a reply."""
    key = f"{seed}/{choice}/{position}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big") / 2**56


def sample(logits: Tensor, draws: Rows[Draw]) -> list[Sampled]:
    """One token for each row of logits, float32 [rows, vocab]."""
    norms = logits.logsumexp(dim=-1)
    best, tokens = logits.max(dim=-1)
    greedy, greedy_logprobs = tokens.tolist(), (best - norms).tolist()
    chosen = []
    for i, draw in enumerate(draws):
        top = _top_logprobs(logits[i], norms[i], draw.params.top_logprobs)
        if draw.params.temperature == 0 and not _is_shaped(draw):
            chosen.append(
                Sampled(token=greedy[i], logprob=greedy_logprobs[i], model_logprob=greedy_logprobs[i], top=top)
            )
            continue
        shaped = _shape(logits[i], draw) if _is_shaped(draw) else logits[i]
        if draw.params.temperature == 0:
            token, drawn = int(shaped.argmax()), None
        else:
            token, drawn = _draw(shaped, draw)
        model_logprob = (logits[i, token] - norms[i]).item()
        logprob = model_logprob if drawn is None else drawn
        chosen.append(Sampled(token=token, logprob=logprob, model_logprob=model_logprob, top=top))
    return chosen


def _top_logprobs(row: Tensor, norm: Tensor, count: int) -> tuple[tuple[int, float], ...]:
    if not count:
        return ()
    values, tokens = row.topk(min(count, len(row)))
    return tuple(zip(tokens.tolist(), (values - norm).tolist(), strict=True))


def _is_shaped(draw: Draw) -> bool:
    """Whether anything changes the logits before temperature and truncation."""
    params = draw.params
    penalties = (params.repetition_penalty - 1, params.presence_penalty, params.frequency_penalty)
    return draw.mask is not None or bool(params.logit_bias) or any(penalties)


def _shape(row: Tensor, draw: Draw) -> Tensor:
    """Penalties, bias and grammar on a copy of a row [vocab]."""
    params, row = draw.params, row.clone()
    if params.repetition_penalty != 1:
        seen = torch.tensor(sorted({*draw.prompt, *draw.counts}), dtype=torch.int64, device=row.device)
        values = row[seen]
        row[seen] = torch.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)
    if draw.counts and (params.presence_penalty or params.frequency_penalty):
        tokens = torch.tensor(list(draw.counts), device=row.device)
        counts = torch.tensor(list(draw.counts.values()), dtype=row.dtype, device=row.device)
        row[tokens] -= params.presence_penalty + params.frequency_penalty * counts
    for token, bias in params.logit_bias.items():
        row[token] += bias
    if draw.mask is not None:
        row.masked_fill_(~draw.mask, -torch.inf)
    return row


def _draw(row: Tensor, draw: Draw) -> tuple[int, float]:
    """A token and its log-probability under the truncated distribution of a row [vocab]."""
    params = draw.params
    scaled = row / params.temperature
    norm = scaled.logsumexp(dim=-1)
    size = _NUCLEUS if params.top_p < 1 or params.top_k or params.min_p else len(row)
    while True:
        values, tokens = scaled.topk(min(size, len(row))) if size < len(row) else scaled.sort(descending=True)
        probabilities = (values - norm).exp()
        total = probabilities.cumsum(dim=-1)
        kept = _num_kept(probabilities, total, params)
        if kept < len(values) or len(values) == len(row) or kept == params.top_k:
            break
        size *= 8  # top-p reaches beyond the tokens sorted so far
    edge = total[kept - 1].item()
    place = int(torch.searchsorted(total[:kept], uniform(draw.seed, draw.choice, draw.position) * edge, right=True))
    place = min(place, kept - 1)
    return int(tokens[place]), probabilities[place].log().item() - math.log(edge)


def _num_kept(probabilities: Tensor, total: Tensor, params: SamplingParams) -> int:
    """How many of the sorted tokens stay: at least one, and only possible ones."""
    kept = int((probabilities > 0).sum())
    if params.top_k:
        kept = min(kept, params.top_k)
    if params.top_p < 1:
        kept = min(kept, int((total - probabilities < params.top_p).sum()))
    if params.min_p:
        kept = min(kept, int((probabilities >= params.min_p * probabilities[0]).sum()))
    return max(kept, 1)
