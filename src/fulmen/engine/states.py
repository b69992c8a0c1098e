"""Who owns which slot of lightning states: running sequences and snapshots draw on one pool. No torch."""


class SlotAllocator:
    """Hands out slots 0..num_slots - 1.

    Example: `slot = allocator.allocate()`, `allocator.release(slot)`.
    """

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self._free = list(range(num_slots - 1, -1, -1))
        self._taken: set[int] = set()

    @property
    def num_free(self) -> int:
        """Slots that nobody owns."""
        return len(self._free)

    def allocate(self) -> int:
        """Take a free slot; the caller has checked `num_free` and clears or fills it."""
        slot = self._free.pop()
        self._taken.add(slot)
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back."""
        self._taken.remove(slot)
        self._free.append(slot)
