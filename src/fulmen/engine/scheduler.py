"""Which tokens of which sequences the next step computes. Pure Python over ints; no torch.

Running sequences come first, oldest first, those with one pending token before those with a chunk of prompt; then
the queue, in order, while there is room: the first in it is admitted when all its tokens fit, and nobody passes it.
A step is at most `max_tokens_per_step` tokens, so that a long prompt never holds up those who are answering. When
replies have grown until pages run out, first the prefix store gives way, then the youngest sequence is preempted: it
loses its pages and slot and comes back to the head of the queue, to be computed again when all of it fits.
"""

from collections import deque
from dataclasses import dataclass

from fulmen.engine.memory import CacheMemory
from fulmen.engine.request import Sequence


@dataclass(frozen=True, slots=True)
class Work:
    """The next `length` pending tokens of a sequence."""

    sequence: Sequence
    length: int

    @property
    def samples(self) -> bool:
        """Whether the last of them is the sequence's last token, so that its logits choose the next."""
        return self.length == self.sequence.pending


class Scheduler:
    """Owns the queue and the running set; `CacheMemory` owns pages, slots and snapshots."""

    def __init__(self, memory: CacheMemory, *, max_tokens_per_step: int, max_running: int) -> None:
        self.memory = memory
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        self._max_tokens = max_tokens_per_step
        self._max_running = max_running

    def schedule(self) -> list[Work]:
        """The work of one step; every sequence in it owns the pages and the slot that it needs."""
        works: list[Work] = []
        budget = self._max_tokens
        for sequence in sorted(self.running, key=lambda s: s.pending > 1):
            if budget and sequence in self.running and (length := self._fit(sequence, budget)):
                works.append(Work(sequence, length))
                budget -= length
        works = [work for work in works if work.sequence in self.running]
        while budget and self.waiting and len(self.running) < self._max_running:
            sequence = self.waiting[0]
            if self._waits_for_sibling(sequence) or not self.memory.admit(sequence):
                break
            self.waiting.popleft()
            self.running.append(sequence)
            length = self._fit(sequence, budget)  # all its pages are there
            works.append(Work(sequence, length))
            budget -= length
        return works

    def finish(self, sequence: Sequence) -> None:
        """A sequence has ended or was cancelled: it leaves, and what it owned is free."""
        if sequence in self.running:
            self.running.remove(sequence)
            self.memory.release(sequence)
        else:
            self.waiting.remove(sequence)

    def _fit(self, sequence: Sequence, budget: int) -> int:
        """How many pending tokens the step takes, with pages for them; preempts younger sequences if it must."""
        length = min(sequence.pending, budget)
        stop = next((n for n in sequence.snapshot_at if n > sequence.computed), None)
        if stop is not None:
            length = min(length, stop - sequence.computed)
        while not self.memory.extend(sequence, length):
            youngest = self.running[-1]
            self._preempt(youngest)
            if youngest is sequence:
                return 0
        return length

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.memory.release(sequence)
        sequence.computed = 0
        self.waiting.appendleft(sequence)
        self.num_preemptions += 1

    def _waits_for_sibling(self, sequence: Sequence) -> bool:
        """Later choices of a request wait until the first has left a snapshot of their common prompt."""
        return self.memory.keeps_prefixes and any(
            other.request is sequence.request and other.computed < other.num_prompt for other in self.running
        )
