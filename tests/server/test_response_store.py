"""The store of responses forgets the oldest, by number and by size."""

from fulmen.chat.message import Message
from fulmen.server.response_store import ResponseStore, StoredResponse


def stored(name, text="x"):
    return StoredResponse(body={"id": name}, messages=(Message(role="user", content=text),))


def test_number_is_bounded():
    store = ResponseStore(max_responses=2, max_characters=1000)
    for name in "abc":
        store.add(stored(name))
    assert (store.get("a"), len(store)) == (None, 2)
    assert store.get("c").body == {"id": "c"}


def test_size_is_bounded_and_removal_counts():
    store = ResponseStore(max_responses=100, max_characters=10)
    store.add(stored("a", "x" * 6))
    store.add(stored("b", "x" * 6))
    assert (store.get("a"), len(store)) == (None, 1)
    assert store.remove("b")
    assert not store.remove("b")
    store.add(stored("c", "x" * 10))
    store.add(stored("d", "x" * 11))
    assert len(store) == 0
