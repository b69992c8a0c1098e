"""A source that goes on only with the settings that it was begun with."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fulmen.trace import TrainingSample
from fulmen.train.source import SampleSource


class ConfiguredSource:
    """A `SampleSource` whose position includes the settings that it was opened with.

    With other weights a mixture would catch up in one burst on what it has more of now, which spoils what the others
    taught; other settings make other samples of the same position. Neither shows in the losses at once.

    Example: `ConfiguredSource(source, {"weight": 2.0, "later_turns": 0.25}, place="stage sft, data[0]")`.
    """

    def __init__(self, source: SampleSource, settings: Mapping[str, Any], *, place: str) -> None:
        """Wrap a source; `settings` are JSON-like, and `place` names it in complaints."""
        self._source, self._place = source, place
        self._settings = json.loads(json.dumps(settings))

    def next(self) -> TrainingSample:
        """The next sample."""
        return self._source.next()

    def state_dict(self) -> dict[str, Any]:
        """The settings, and the position of the source."""
        return {"settings": self._settings, "position": self._source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; ValueError names what is another now."""
        if "settings" in state:  # of earlier versions it has none
            if changed := list(_changes(state["settings"], self._settings)):
                raise ValueError(
                    f"{self._place}: {', '.join(changed)}. Restore that until the stage is done, or begin a new run in "
                    "another folder"
                )
            state = state["position"]
        try:
            self._source.load_state_dict(state)
        except ValueError as error:
            raise ValueError(f"{self._place}: {error}") from error


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """What differs, such as `tasks.addition was 2.0 in the checkpoint and is 3.0 now`."""
    for key in [*before, *(key for key in now if key not in before)]:
        was, new = before.get(key), now.get(key)
        if isinstance(was, Mapping) and isinstance(new, Mapping):
            yield from _changes(was, new, f"{within}{key}.")
        elif was != new:
            yield f"{within}{key} was {_shown(was)} in the checkpoint and is {_shown(new)} now"


def _shown(value: object) -> str:
    return "absent" if value is None else repr(value)
