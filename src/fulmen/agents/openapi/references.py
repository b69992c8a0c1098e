"""References of an OpenAPI document, which are followed inside the document only."""

from collections.abc import Mapping
from typing import Any

from referencing import Registry, Resource
from referencing.exceptions import Unresolvable

_ROOT = "urn:fulmen:document"


class References:
    """Looks up what `$ref` points to.

    Example: `References(data).lookup("#/components/schemas/Pet")` is the schema of a pet.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        """Look things up in the document `data`."""
        self._resolver = Registry().with_resource(_ROOT, Resource.opaque(data)).resolver(_ROOT)

    def lookup(self, reference: str) -> Any:
        """Return what stands there; ValueError if that is nothing, or outside the document."""
        if not reference.startswith("#/"):
            raise ValueError(f"{reference} is outside the document: put what it refers to into it")
        try:
            return self._resolver.lookup(reference).contents
        except Unresolvable:
            raise ValueError(f"{reference} does not exist") from None
