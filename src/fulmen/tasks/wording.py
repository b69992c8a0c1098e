"""English in small: articles, plurals, and whether a text says a phrase."""

import re
from collections.abc import Iterable


def with_article(noun: str) -> str:
    """A noun after its indefinite article.

    Example: `with_article("alarm")` is "an alarm".
    """
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def determined(noun: str, *, several: bool) -> tuple[str, str, str]:
    """A noun as one of its kind, as the known one and as one's own; in the plural if there are `several`.

    Example: `determined("seat", several=True)` is `("seats", "the seats", "my seats")`.
    """
    if several:
        noun = plural(noun)
    return noun if several else with_article(noun), f"the {noun}", f"my {noun}"


def capital(text: str) -> str:
    """A text that begins with a capital letter; the others stay as they are."""
    return text[0].upper() + text[1:]


def plural(noun: str) -> str:
    """The regular plural.

    Example: `plural("city")` is "cities", `plural("box")` is "boxes".
    """
    if noun.endswith(("s", "x", "ch", "sh", "z")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in set("aeiou"):
        return noun[:-1] + "ies"
    return noun + "s"


def says(text: str, phrase: str) -> bool:
    """Whether a text holds a phrase, in any case, and not as a part of a longer word or number.

    Example: `says("It is 42.", "42")`, but not `says("It is 42.5", "42")` or `says("It is -42", "42")`.
    """
    return re.search(rf"(?<![\w.-]){re.escape(phrase)}(?!\w|[.,:-]\w)", text, re.IGNORECASE) is not None


def says_only(text: str, phrase: str, others: Iterable[str]) -> bool:
    """Whether a text says a phrase and none of the others, since naming everything is no answer.

    Example: `says_only("Rome", "Rome", ["Paris"])`, but not `says_only("Rome or Paris", "Rome", ["Paris"])`.
    """
    return says(text, phrase) and not any(says(text, other) for other in others)
