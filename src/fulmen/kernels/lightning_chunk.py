"""Lightning attention in chunks: everything inside a chunk is a batched matrix product, only states are scanned.

With chunk-start state S and tokens i, j = 0..C-1 of a chunk, per head with slope s,

    out_i  = exp(-s (i + 1)) q_i S  +  sum_(j <= i) exp(-s (i - j)) (q_i . k_j) v_j
    S_next = exp(-s C) S  +  sum_j exp(-s (C - 1 - j)) k_j^T v_j

so all chunks of a span go through four products at once and the states through one short loop. Each exponent is
non-positive: nothing overflows, whatever the slope. The backward is the same four products mirrored, with the states'
gradient scanned from the end; it keeps q, k, v and the chunk-start states, which is linear in length.

A sequence is cut into spans of whole chunks, read in place, and a ragged tail. Tails of similar length from different
sequences share one padded batch, which wastes at most `TAIL_STEP - 1` rows each.

Shapes: T tokens packed, S sequences, H heads, D head_dim, N chunks of a span or tails of a batch, C tokens of a chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fulmen.kernels.autocast import without_autocast
from fulmen.kernels.lightning_decode import recurrent_step
from fulmen.kernels.reference import compute_dtype

CHUNK = 64
"""Tokens of a chunk: smaller ones multiply less inside chunks and pass more states; 64 is fastest for D 64 and 128."""
TAIL_STEP = 16
"""Tails are batched by length rounded up to this."""
SPAN_ELEMENTS = {"cpu": 2**18, "cuda": 2**24}
"""Elements of one temporary [N, H, C, D] of a span: on CPUs small enough for the caches, on a GPU enough to fill it."""


@dataclass(frozen=True)
class _Decay:
    """Factors of chunks of C tokens, or of N tails with lengths of their own (which give `key` and `whole` an N)."""

    mask: Tensor  # [H, C, C]: exp(-s (i - j)) for j <= i, else 0
    query: Tensor  # [H, C, 1]: exp(-s (i + 1))
    key: Tensor  # [H, C, 1] or [N, H, C, 1]: exp(-s (length - 1 - j))
    whole: Tensor  # [H, 1, 1] or [N, H, 1, 1]: exp(-s length)


class _Decays:
    """The factors for one head count and dtype; those of a shorter chunk are slices of those of a full one."""

    def __init__(self, slopes: Tensor, dtype: torch.dtype) -> None:
        self.rate = slopes.to(dtype)[:, None, None]  # [H, 1, 1]
        self.index = torch.arange(CHUNK, device=slopes.device, dtype=dtype)[:, None]  # [C, 1]
        self.query = torch.exp(-self.rate * (self.index + 1))  # [H, C, 1]
        self.key = torch.exp(-self.rate * (CHUNK - 1 - self.index))  # [H, C, 1]
        # Row i of the mask is a window into [.. exp(-2 s) exp(-s) 1 0 0 ..]: C exponentials instead of C^2.
        ramp = functional.pad(self.key[..., 0], (0, CHUNK - 1))  # [H, 2 C - 1]
        self.mask = ramp.unfold(1, CHUNK, 1).flip(1)  # [H, C, C]

    def chunk(self, length: int) -> _Decay:
        """For chunks that all have `length` <= CHUNK tokens."""
        return _Decay(
            mask=self.mask[:, :length, :length],
            query=self.query[:, :length],
            key=self.key[:, CHUNK - length :],
            whole=torch.exp(-self.rate * length),
        )

    def tails(self, lengths: Sequence[int]) -> _Decay:
        """For tails padded to the longest of them; padded keys are zero, so only the exponents' sign matters there."""
        width = max(lengths)
        if min(lengths) == width:
            return self.chunk(width)
        length = torch.tensor(lengths, device=self.rate.device)[:, None, None, None]  # [N, 1, 1, 1]
        key = torch.exp(-self.rate * (length - 1 - self.index[:width]).clamp(min=0))  # [N, H, C, 1]
        return _Decay(self.mask[:, :width, :width], self.query[:, :width], key, torch.exp(-self.rate * length))


@dataclass(frozen=True)
class _Span:
    """Consecutive whole chunks of one sequence (count >= 1), or its only short chunk (count 1, length < CHUNK)."""

    sequence: int
    start: int
    length: int  # tokens of each chunk
    count: int

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + self.count * self.length)

    def read(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """[T, H, D] -> [N * H, C, D]; a view where N is 1 and the dtype is right."""
        shape = (self.count, self.length, *x.shape[1:])
        chunks = x[self.rows].view(shape).transpose(1, 2)  # [N, H, C, D]
        if x.dtype != dtype:
            chunks = chunks.to(dtype, memory_format=torch.contiguous_format)  # both in one pass
        return chunks.flatten(0, 1)

    def write(self, target: Tensor, x: Tensor) -> None:
        """The inverse of `read`: x [N * H, C, D] into the rows of target [T, H, D]."""
        shape = (self.count, self.length, *target.shape[1:])
        target[self.rows].view(shape).copy_(x.unflatten(0, (self.count, -1)).transpose(1, 2))


class _Tails:
    """Last tokens of several sequences, fewer than CHUNK each, padded to the longest with zeros: one batch of N."""

    def __init__(self, sequences: list[int], starts: list[int], lengths: list[int], device: torch.device) -> None:
        self.lengths, self.width = lengths, max(lengths)
        self.sequences = torch.tensor(sequences, device=device)  # [N]
        length = torch.tensor(lengths, device=device)[:, None]
        index = torch.arange(self.width, device=device)[None]
        inside = (index < length).flatten()
        self.rows = inside.nonzero()[:, 0]  # rows of the padded batch that hold a token
        self.tokens = (torch.tensor(starts, device=device)[:, None] + index).flatten()[self.rows]

    def read(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """[T, H, D] -> [N * H, C, D], zeros in the padding."""
        padded = x.new_zeros(len(self.lengths) * self.width, *x.shape[1:], dtype=dtype)
        padded.index_copy_(0, self.rows, x.index_select(0, self.tokens).to(dtype))
        return padded.unflatten(0, (-1, self.width)).transpose(1, 2).flatten(0, 1)

    def write(self, target: Tensor, x: Tensor) -> None:
        """The inverse of `read`; the padding is dropped."""
        rows = x.unflatten(0, (len(self.lengths), -1)).transpose(1, 2).flatten(0, 1)  # [N * C, H, D]
        target.index_copy_(0, self.tokens, rows.index_select(0, self.rows).to(target.dtype))


def _plan(bounds: Sequence[int], span_chunks: int, device: torch.device) -> tuple[list[_Span], list[_Tails]]:
    """Cut packed sequences into spans, in order, and tails, which come after all spans."""
    spans, tails = [], []
    for sequence, (start, end) in enumerate(pairwise(bounds)):
        ragged = end - (end - start) % CHUNK
        for first in range(start, ragged, span_chunks * CHUNK):
            spans.append(_Span(sequence, first, CHUNK, min(span_chunks, (ragged - first) // CHUNK)))
        if ragged < end:
            tails.append((end - ragged, ragged, sequence))
    if len(tails) == 1 and tails[0][0] > 1:  # read in place
        length, start, sequence = tails[0]
        return [*spans, _Span(sequence, start, length, 1)], []
    buckets: dict[int, list[tuple[int, int, int]]] = {}
    for tail in tails:  # single tokens apart: they take the recurrent form
        buckets.setdefault(-(-tail[0] // TAIL_STEP) if tail[0] > 1 else 0, []).append(tail)
    batches = [
        _Tails([t[2] for t in bucket], [t[1] for t in bucket], [t[0] for t in bucket], device)
        for bucket in buckets.values()
    ]
    return spans, batches


def _chunk_forward(q: Tensor, k: Tensor, v: Tensor, states: Tensor, decay: _Decay) -> Tensor:
    """Outputs [N * H, C, D] of q, k, v [N * H, C, D] from the chunk-start states [N, H, D, D]."""
    scores = torch.bmm(q, k.transpose(1, 2))  # [N * H, C, C]
    _scale(scores, decay.mask)
    out = torch.bmm(q, states.flatten(0, 1))  # [N * H, C, D]
    _scale(out, decay.query)
    return out.baddbmm_(scores, v)


def _scale(x: Tensor, factor: Tensor) -> None:
    """x [N * H, ...] times factor [H, ...] or [N, H, ...], in place."""
    x.unflatten(0, (-1, factor.shape[-3])).mul_(factor)


def _increments(k: Tensor, v: Tensor, factor: Tensor) -> Tensor:
    """What each chunk adds to a state: (k * factor)^T v, k, v [N * H, C, D], factor [(N,) H, C, 1] -> [N, H, D, D]."""
    heads = factor.shape[-3]
    scaled = (k.unflatten(0, (-1, heads)) * factor).flatten(0, 1)
    return torch.bmm(scaled.transpose(1, 2), v).unflatten(0, (-1, heads))


def _scan(increments: Tensor, state: Tensor, whole: Tensor, reverse: bool = False) -> Tensor:
    """The state before each of increments [N, H, D, D], in the same shape; `state` [H, D, D] becomes the last one."""
    states = torch.empty_like(increments)
    steps, places = increments.unbind(0), states.unbind(0)
    if reverse:
        steps, places = steps[::-1], places[::-1]
    places[0].copy_(state)
    for step, before, after in zip(steps, places, (*places[1:], state), strict=True):
        torch.addcmul(step, before, whole, out=after)
    return states


def _forward(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor, bounds: Sequence[int], keep: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """out, final state and, if `keep`, the chunk-start states of each span and tail batch in order."""
    dtype = state.dtype
    decays, (spans, tails) = _Decays(slopes, dtype), _plan(bounds, _span_chunks(q), q.device)
    out = q.new_empty(q.shape)
    final = state.clone()
    starts = []
    for span in spans:
        qc, kc, vc = (span.read(x, dtype) for x in (q, k, v))
        decay = decays.chunk(span.length)
        states = _scan(_increments(kc, vc, decay.key), final[span.sequence], decay.whole)
        span.write(out, _chunk_forward(qc, kc, vc, states, decay))
        starts += [states] * keep
    for batch in tails:
        states = final.index_select(0, batch.sequences)  # [N, H, D, D]
        starts += [states] * keep
        if batch.width == 1:
            following = states.clone() if keep else states
            qt, kt, vt = (x.index_select(0, batch.tokens) for x in (q, k, v))  # [N, H, D]
            out.index_copy_(0, batch.tokens, recurrent_step(qt, kt, vt, slopes, following))
        else:
            qc, kc, vc = (batch.read(x, dtype) for x in (q, k, v))
            decay = decays.tails(batch.lengths)
            batch.write(out, _chunk_forward(qc, kc, vc, states, decay))
            following = _increments(kc, vc, decay.key).addcmul_(states, decay.whole)
        final.index_copy_(0, batch.sequences, following)
    return out, final, starts


def _chunk_backward(
    inputs: Sequence[Tensor], states: Tensor, d_states: Tensor, decay: _Decay
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k, v [N * H, C, D], given those of the outputs (last of `inputs`) and of the chunk-end states."""
    q, k, v, d_out = inputs
    states, d_states = states.flatten(0, 1), d_states.flatten(0, 1)  # [N * H, D, D]
    scores = torch.bmm(d_out, v.transpose(1, 2))  # gradient of the masked scores [N * H, C, C]
    _scale(scores, decay.mask)
    dq = torch.bmm(d_out, states.transpose(1, 2))
    _scale(dq, decay.query)
    dq.baddbmm_(scores, k)
    dk = torch.bmm(v, d_states.transpose(1, 2))
    _scale(dk, decay.key)
    dk.baddbmm_(scores.transpose(1, 2), q)
    torch.bmm(q, k.transpose(1, 2), out=scores)  # the masked scores themselves, in the same memory
    _scale(scores, decay.mask)
    dv = torch.bmm(k, d_states)
    _scale(dv, decay.key)
    return dq, dk, dv.baddbmm_(scores.transpose(1, 2), d_out)


class _LightningChunk(torch.autograd.Function):
    """`_forward` with a backward that walks the spans from the end."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor, bounds: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        out, final, starts = _forward(q, k, v, slopes, state, bounds, keep=True)
        ctx.save_for_backward(q, k, v, slopes, *starts)
        ctx.bounds = bounds
        return out, final

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, d_out: Tensor, d_final: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, slopes, *starts = ctx.saved_tensors
        dtype = d_final.dtype
        decays, (spans, tails) = _Decays(slopes, dtype), _plan(ctx.bounds, _span_chunks(q), q.device)
        d_state = d_final.clone()
        grads = tuple(x.new_empty(x.shape) for x in (q, k, v))
        for batch, states in zip(tails, starts[len(spans) :], strict=True):
            decay = decays.tails(batch.lengths)
            inputs = [batch.read(x, dtype) for x in (q, k, v, d_out)]
            d_ends = d_state.index_select(0, batch.sequences)
            for target, grad in zip(grads, _chunk_backward(inputs, states, d_ends, decay), strict=True):
                batch.write(target, grad)
            previous = _increments(inputs[0], inputs[3], decay.query).addcmul_(d_ends, decay.whole)
            d_state.index_copy_(0, batch.sequences, previous)
        for span, states in reversed(list(zip(spans, starts, strict=False))):
            decay = decays.chunk(span.length)
            inputs = [span.read(x, dtype) for x in (q, k, v, d_out)]
            increments = _increments(inputs[0], inputs[3], decay.query)
            d_ends = _scan(increments, d_state[span.sequence], decay.whole, reverse=True)
            for target, grad in zip(grads, _chunk_backward(inputs, states, d_ends, decay), strict=True):
                span.write(target, grad)
        return *grads, None, d_state, None


def _span_chunks(q: Tensor) -> int:
    """Chunks that go through the products at once: as many as keep a temporary within its budget."""
    return max(1, SPAN_ELEMENTS[q.device.type] // (CHUNK * q[0].numel())) if len(q) else 1


def sequence_bounds(cu_seqlens: Tensor | None, num_tokens: int) -> tuple[int, ...]:
    """Where sequences begin and end, checked; without `cu_seqlens` they are one."""
    bounds = (0, num_tokens) if cu_seqlens is None else tuple(cu_seqlens.tolist())
    if bounds[0] != 0 or bounds[-1] != num_tokens or any(start > end for start, end in pairwise(bounds)):
        raise ValueError(f"cu_seqlens must rise from 0 to the number of tokens {num_tokens}, got {list(bounds)}")
    return bounds


@without_autocast
def lightning_chunk(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor | None = None, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Lightning attention over packed sequences of any lengths, 0 included; arguments as in `dispatch.lightning`.

    Differentiable once in q, k, v and state. Computes in float32, in float64 for float64 inputs, never in
    what autocast says.
    """
    bounds = sequence_bounds(cu_seqlens, len(q))
    if state is None:
        heads, dim = q.shape[1:]
        state = q.new_zeros(len(bounds) - 1, heads, dim, dim, dtype=compute_dtype(q))
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, state)):
        return _LightningChunk.apply(q, k, v, slopes, state, bounds)
    out, final, _ = _forward(q, k, v, slopes, state, bounds, keep=False)
    return out, final
