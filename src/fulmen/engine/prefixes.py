"""What finished prompts leave behind: a radix tree over token ids, with pages plus a state snapshot. No torch.

Lightning states are updated in place and cannot be cropped, so a prompt may continue only from a boundary at which a
snapshot was taken: pages and states, both or nothing. A snapshot after b tokens holds a reference to each page with
tokens before b, the last one perhaps partly filled, and one state slot. Whoever continues from it copies a partly
filled page; the sequence that it was taken from goes on writing behind b, where the snapshot never reads.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Snapshot:
    """What is needed to continue after `length` tokens."""

    length: int
    pages: list[int]
    slot: int
    last_used: int = 0


@dataclass(slots=True, eq=False)
class _Node:
    """An edge of the tree with what lies at its end; `tokens` leads here from the parent."""

    tokens: tuple[int, ...]
    parent: "_Node | None"
    children: dict[int, "_Node"] = field(default_factory=dict)
    snapshot: Snapshot | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What the store knows of a prompt."""

    snapshot: Snapshot | None
    """The longest snapshot that is a prefix of the prompt."""
    shared: int
    """Tokens that the prompt has in common with the longest path: where it parts, a snapshot serves the next one."""


class PrefixStore:
    """Snapshots by the tokens that lead to them, least recently used first to go.

    Example::

        store.insert(ids[:100], pages, slot)
        store.match(ids).snapshot.length  # 100
    """

    def __init__(self) -> None:
        self._root = _Node((), None)
        self._clock = itertools.count(1)
        self._nodes: dict[Snapshot, _Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, snapshot: object) -> bool:
        return snapshot in self._nodes

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self._nodes)

    def match(self, tokens: Sequence[int], limit: int) -> Match:
        """The longest snapshot over at most `limit` tokens of the prompt, marked as used, and the length in common."""
        best, shared = None, 0
        for node, matched in self._walk(tokens):
            shared = matched
            if node.snapshot is not None and node.snapshot.length <= min(matched, limit):
                best = node.snapshot
        if best is not None:
            best.last_used = next(self._clock)
        return Match(snapshot=best, shared=shared)

    def contains(self, tokens: Sequence[int]) -> bool:
        """Whether a snapshot exists after exactly these tokens."""
        match = self.match(tokens, len(tokens)).snapshot
        return match is not None and match.length == len(tokens)

    def insert(self, tokens: Sequence[int], pages: list[int], slot: int) -> Snapshot:
        """Remember a snapshot after all of `tokens`; the store takes over the references to pages and slot."""
        node = self._node_at(tuple(tokens))
        assert node.snapshot is None, "these tokens have a snapshot already"
        node.snapshot = Snapshot(len(tokens), pages, slot, next(self._clock))
        self._nodes[node.snapshot] = node
        return node.snapshot

    def evict(self) -> Snapshot | None:
        """Forget the least recently used snapshot and return it, so that its pages and slot can be released."""
        if not self._nodes:
            return None
        snapshot = min(self._nodes, key=lambda s: s.last_used)
        node = self._nodes.pop(snapshot)
        node.snapshot = None
        while node.parent is not None and node.snapshot is None and not node.children:
            del node.parent.children[node.tokens[0]]
            node = node.parent
        if node.parent is not None and node.snapshot is None and len(node.children) == 1:
            (child,) = node.children.values()
            child.tokens, child.parent = node.tokens + child.tokens, node.parent
            node.parent.children[node.tokens[0]] = child
        return snapshot

    def _walk(self, tokens: Sequence[int]) -> Iterator[tuple[_Node, int]]:
        """Nodes along `tokens` with the tokens matched at each; the last one may be matched in part."""
        node, matched = self._root, 0
        while matched < len(tokens) and tokens[matched] in node.children:
            node = node.children[tokens[matched]]
            common = _common(node.tokens, tokens[matched : matched + len(node.tokens)])
            matched += common
            if common < len(node.tokens):
                node = _Node(node.tokens[:common], node.parent)  # no snapshot lies inside an edge
                yield node, matched
                return
            yield node, matched

    def _node_at(self, tokens: tuple[int, ...]) -> _Node:
        node = self._root
        while tokens:
            child = node.children.get(tokens[0])
            if child is None:
                child = node.children[tokens[0]] = _Node(tokens, node)
            common = _common(child.tokens, tokens)
            if common < len(child.tokens):
                upper = _Node(child.tokens[:common], node, {child.tokens[common]: child})
                child.tokens, child.parent = child.tokens[common:], upper
                node.children[tokens[0]] = child = upper
            node, tokens = child, tokens[common:]
        return node


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
