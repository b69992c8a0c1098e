"""Words of which problems are made: names, places, things, deeds and qualities, divided between the splits.

A word belongs to the test split or to training for good, by a hash of its letters, so that a model evaluated on test
problems meets words that none of its training problems held. Names are invented without end, under the same rule.
"""

import random
import zlib
from collections.abc import Sequence
from functools import cache
from importlib import resources

from fulmen.tasks.task import Split

_HELD_OUT_OF = 4
"""One word in so many belongs to the test split."""
_ONSETS = (*"bcdfghjklmnprstvwz", "br", "ch", "dr", "fl", "gr", "kl", "pr", "qu", "sh", "st", "th", "tr")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ia", "io", "ou")
_CODAS = ("", "", "", "l", "n", "r", "s", "m", "nd", "rk", "st", "th", "x")


def split_of(word: str) -> Split:
    """The split that a word belongs to.

    Example: `split_of("Harold")` is "train" on every machine and in every run.
    """
    return "test" if zlib.crc32(word.lower().encode()) % _HELD_OUT_OF == 0 else "train"


@cache
def words(name: str, split: Split) -> tuple[str, ...]:
    """The words of one list, `name`.txt in this folder, that belong to a split; those of several parts have `_`.

    Raises:
        ValueError: there is no list of this name; the message says which there are.
    """
    folder = resources.files(__name__)
    file = folder / f"{name}.txt"
    if not file.is_file():
        known = sorted(path.name.removesuffix(".txt") for path in folder.iterdir() if path.name.endswith(".txt"))
        raise ValueError(f"there is no word list {name!r}; there are {', '.join(known)}")
    return tuple(word for word in file.read_text(encoding="ascii").split() if split_of(word) == split)


def random_source(task: str, split: Split, seed: int) -> random.Random:
    """The source of chance for one task's examples: the same numbers for the same three arguments, everywhere."""
    return random.Random(f"{task}/{split}/{seed}")


def invented_name(rng: random.Random, split: Split, *, syllables: Sequence[int] = (2, 2, 3)) -> str:
    """A name that no list holds, of the split's own.

    Example: `invented_name(random.Random(1), "train")` is "Brelem".
    """
    while True:
        parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice(syllables))]
        name = ("".join(parts) + rng.choice(_CODAS)).capitalize()
        if split_of(name) == split:
            return name
