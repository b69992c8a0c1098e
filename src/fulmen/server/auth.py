"""API keys: a bearer token that must be one of the server's, compared in constant time."""

import hmac
import os
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fulmen.server.errors import ApiError

ENVIRONMENT = "FULMEN_API_KEYS"
_OPEN_PATHS = frozenset({"/health", "/metrics", "/"})
"""Asked by orchestrators, by Prometheus and by browsers, which have no key (the page asks its reader for one); none
tells what was said."""
_OPEN_FOLDER = "/page/"
"""The page's files. Routes match the path as it stands, so nothing below it leads elsewhere."""


def keys_from_environment() -> tuple[str, ...]:
    """Return the keys of `FULMEN_API_KEYS`, separated by commas or white space."""
    return tuple(os.environ.get(ENVIRONMENT, "").replace(",", " ").split())


class ApiKeys:
    """Lets a request through when its key is known."""

    def __init__(self, app: ASGIApp, *, keys: Sequence[str]) -> None:
        """Guard `app`; without keys it is open."""
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or go on."""
        if scope["type"] == "http" and self._keys and not _is_open(scope["path"]):
            problem = self._problem(Headers(scope=scope).get("authorization"))
            if problem is not None:
                error = ApiError(401, problem, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _problem(self, authorization: str | None) -> str | None:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return "an API key is missing: send it as Authorization: Bearer KEY"
        given = token.strip().encode("latin-1")  # as the header's bytes came
        # All keys are compared, so that the time says nothing about which one was near.
        known = [hmac.compare_digest(given, key) for key in self._keys]
        return None if any(known) else "the API key is wrong"


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith(_OPEN_FOLDER)
