"""One owner for the two allocators: what a sequence holds of the hybrid cache, and what the prefix store keeps.

Pages and states come and go together: admission takes a slot and the pages of a whole prompt, and continues from a
snapshot if one fits; extension takes pages for the reply, release gives all back, and the store is made to give way
when either runs out. No torch: the copies that a snapshot needs are asked of a `CacheOperations`, which the runner
implements.
"""

from typing import Protocol

from fulmen.engine.blocks import PageAllocator
from fulmen.engine.prefixes import PrefixStore, Snapshot
from fulmen.engine.request import Sequence
from fulmen.engine.states import SlotAllocator


class CacheOperations(Protocol):
    """Copies inside the cache's tensors."""

    def clear_slot(self, slot: int) -> None:
        """Empty states."""
        ...

    def copy_slot(self, source: int, target: int) -> None:
        """Copy the states of all lightning layers."""
        ...

    def copy_page(self, source: int, target: int) -> None:
        """Copy a page of keys and values of all softmax layers."""
        ...


class CacheMemory:
    """Pages and slots of sequences and snapshots."""

    def __init__(
        self, operations: CacheOperations, *, num_pages: int, num_slots: int, page_size: int, keeps_prefixes: bool
    ) -> None:
        self.pages = PageAllocator(num_pages)
        self.slots = SlotAllocator(num_slots)
        self.prefixes = PrefixStore()
        self.keeps_prefixes = keeps_prefixes
        self._operations = operations
        self._page_size = page_size
        self._admitted: set[Sequence] = set()

    @property
    def uses_pages(self) -> bool:
        """False for a model without softmax layers."""
        return self.pages.num_pages > 0

    def admit(self, sequence: Sequence) -> bool:
        """Give a waiting sequence a slot, and pages for all its tokens and the next; False when they are not to be had.

        All at once, because a prompt that is computed in chunks until the pages run out is computed in vain. It
        continues from the longest snapshot of its tokens; at least one token is left to compute, because a reply begins
        with the logits of the last one.
        """
        match = self.prefixes.match(sequence.tokens, len(sequence.tokens) - 1)
        snapshot = match.snapshot
        if not self._make_room(sequence, snapshot):
            if snapshot is None or not self._make_room(sequence, None):
                return False
            snapshot = None  # it may have given way
        self._admitted.add(sequence)
        sequence.slot = self.slots.allocate()
        if snapshot is None:
            self._operations.clear_slot(sequence.slot)
        else:
            self._continue(sequence, snapshot)
        sequence.pages += self.pages.allocate(self._pages_of(sequence) - len(sequence.pages))
        self._plan_snapshots(sequence, match.shared)
        return True

    def extend(self, sequence: Sequence, length: int) -> bool:
        """Give the pages that `length` more tokens lack; False when there are none even without the store."""
        if not self.uses_pages:
            return True
        needed = -(-(sequence.computed + length) // self._page_size) - len(sequence.pages)
        if needed > 0:
            if not self._reserve(pages=needed, slots=0):
                return False
            sequence.pages += self.pages.allocate(needed)
        return True

    def release(self, sequence: Sequence) -> None:
        """Take back everything that a sequence owns."""
        self._admitted.discard(sequence)
        self.pages.release(sequence.pages)
        sequence.pages = []
        if sequence.slot is not None:
            self.slots.release(sequence.slot)
            sequence.slot = None

    def remember(self, sequence: Sequence) -> None:
        """Snapshot a running sequence at its computed length, if the store wants it and a slot can be had."""
        tokens = sequence.tokens[: sequence.computed]
        if not self.keeps_prefixes or not tokens or self.prefixes.contains(tokens):
            return
        if not self._reserve(pages=0, slots=1):
            return
        assert sequence.slot is not None
        slot = self.slots.allocate()
        self._operations.copy_slot(sequence.slot, slot)
        pages = sequence.pages[: -(-sequence.computed // self._page_size)]
        self.pages.share(pages)
        self.prefixes.insert(tokens, pages, slot)

    def take(self, length: int) -> tuple[list[int], int]:
        """Pages and a slot for a context of `length` tokens from elsewhere; ValueError if there is no room."""
        count = -(-length // self._page_size) if self.uses_pages else 0
        if not self._reserve(pages=count, slots=1):
            raise ValueError(f"no room for {length:,} tokens: {self.pages.num_free} of {count} pages are free")
        return self.pages.allocate(count), self.slots.allocate()

    def forget_all(self) -> None:
        """Empty the prefix store."""
        while self._evict():
            pass

    def _pages_of(self, sequence: Sequence) -> int:
        """Pages for all tokens of a sequence and the next one."""
        return -(-(len(sequence.tokens) + 1) // self._page_size) if self.uses_pages else 0

    def _make_room(self, sequence: Sequence, snapshot: Snapshot | None) -> bool:
        """Evict until a sequence fits beside `snapshot`; False, and nothing is evicted, when that would not be enough.

        What stays is what running sequences hold, and the snapshot: it was used just now and would be the last to go.
        """
        staying = {page for other in self._admitted for page in other.pages}
        needed = self._pages_of(sequence)
        if snapshot is not None:
            staying.update(snapshot.pages)
            needed -= len(snapshot.pages[: snapshot.length // self._page_size])
        slots = len(self._admitted) + (snapshot is not None)
        if len(staying) + needed > self.pages.num_pages or slots >= self.slots.num_slots:
            return False
        return self._reserve(pages=needed, slots=1)

    def _continue(self, sequence: Sequence, snapshot: Snapshot) -> None:
        full, partial = divmod(snapshot.length, self._page_size)
        assert sequence.slot is not None
        self._operations.copy_slot(snapshot.slot, sequence.slot)
        if self.uses_pages:
            sequence.pages = snapshot.pages[:full]
            self.pages.share(sequence.pages)
            if partial:
                (page,) = self.pages.allocate(1)
                self._operations.copy_page(snapshot.pages[full], page)
                sequence.pages.append(page)
        sequence.computed = snapshot.length
        if not sequence.num_reply:
            sequence.cached_tokens = snapshot.length

    def _plan_snapshots(self, sequence: Sequence, shared: int) -> None:
        """Where others parted from this prompt, and before its last token (for the same prompt again)."""
        if self.keeps_prefixes and not sequence.num_reply:
            places = {shared, sequence.num_prompt - 1}
            sequence.snapshot_at = sorted(n for n in places if sequence.computed < n < sequence.num_prompt)

    def _reserve(self, *, pages: int, slots: int) -> bool:
        """Make so much free, at the cost of snapshots, least recently used first."""
        while self.pages.num_free < pages or self.slots.num_free < slots:
            if not self._evict():
                return False
        return True

    def _evict(self) -> bool:
        snapshot = self.prefixes.evict()
        if snapshot is None:
            return False
        self.pages.release(snapshot.pages)
        self.slots.release(snapshot.slot)
        return True
