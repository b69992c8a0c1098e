"""Who owns which page of keys and values: a free list with reference counts. No torch.

A page is shared when several sequences, or a sequence and the prefix store, read the same tokens from it. Only the
owner of the last, partly filled page may write to it, so a shared page is always a full one.
"""

from collections.abc import Iterable


class PageAllocator:
    """Hands out pages 0..num_pages - 1.

    Example: `pages = allocator.allocate(3)`, `allocator.share(pages[:2])`, `allocator.release(pages)`.
    """

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._free = list(range(num_pages - 1, -1, -1))
        self._references = [0] * num_pages

    @property
    def num_free(self) -> int:
        """Pages that nobody refers to."""
        return len(self._free)

    def allocate(self, count: int) -> list[int]:
        """Take `count` free pages, each with one reference; the caller has checked `num_free`."""
        assert count <= len(self._free), f"{count} pages asked for, {len(self._free)} are free"
        pages = [self._free.pop() for _ in range(count)]
        for page in pages:
            self._references[page] = 1
        return pages

    def share(self, pages: Iterable[int]) -> None:
        """Add a reference to each page."""
        for page in pages:
            assert self._references[page] > 0, f"page {page} is free"
            self._references[page] += 1

    def release(self, pages: Iterable[int]) -> None:
        """Drop a reference to each page; a page without references is free again."""
        for page in pages:
            assert self._references[page] > 0, f"page {page} is free already"
            self._references[page] -= 1
            if not self._references[page]:
                self._free.append(page)
