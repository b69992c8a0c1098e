"""Notices a model that makes the same call again and again, with nothing new to learn from it.

A call counts as the same when tool and arguments are, and as useless when its result is, too. A call that was never
made before may have changed the world, so that the counts begin anew.
"""

import json

from fulmen.chat.message import ToolCall


def call_key(call: ToolCall) -> str:
    """Return what two calls share when they ask for the same: the tool, and the arguments in whatever order."""
    try:
        arguments = json.dumps(json.loads(call.arguments), sort_keys=True)
    except (ValueError, RecursionError):
        arguments = call.arguments
    return f"{call.name} {arguments}"


class CallHistory:
    """Counts of equal calls with equal results.

    Example::

        history = CallHistory()
        history.add("add {}", "1")
        history.add("add {}", "1")
        history.count("add {}")  # 2
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._counts: dict[str, tuple[str, int]] = {}  # the last result of each call, and how often it came in a row
        self._told: set[str] = set()

    def add(self, key: str, result: str) -> None:
        """Note a call and what it brought."""
        if key not in self._known:
            self._known.add(key)
            self._counts.clear()
            self._told.clear()
        last, count = self._counts.get(key, ("", 0))
        self._counts[key] = (result, count + 1 if last == result else 1)

    def add_told(self, key: str) -> None:
        """Note that the model was told not to make this call again."""
        self._told.add(key)

    def count(self, key: str) -> int:
        """Return how often in a row the call brought the same result."""
        return self._counts.get(key, ("", 0))[1]

    def told(self, key: str) -> bool:
        """Return whether the model was told not to make this call again."""
        return key in self._told
