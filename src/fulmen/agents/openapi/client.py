"""Sends the requests of an API's tools, to the hosts of its document and to no other.

Redirects are not followed: they could lead anywhere. What comes back is read up to a limit.
"""

import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from fulmen.agents.openapi.document import FORM
from fulmen.agents.openapi.request import ApiRequest
from fulmen.tools.content import as_text
from fulmen.tools.tool import ToolError

_MAX_BYTES = 1_000_000
_TIMEOUT = 30.0
_HALF_CHARACTER = re.compile(rb"[\xc0-\xff][\x80-\xbf]{0,2}\Z")
"""At the end of a text in UTF-8; half of one would make it binary."""


@dataclass(frozen=True, slots=True)
class SecretHeader:
    """A header whose value nobody sees but the service: it is taken from the environment.

    Example: `SecretHeader.from_environment("Authorization", "PETS_TOKEN")`.
    """

    name: str
    value: str = field(repr=False)

    @classmethod
    def from_environment(cls, name: str, variable: str) -> Self:
        """Read the header's whole value, as in `Bearer abc`, from an environment variable.

        Raises:
            ValueError: it is not set, or no header can have this value.
        """
        value = os.environ.get(variable, "").strip()
        if not value:
            raise ValueError(f"the environment variable {variable} is not set; it holds the value of {name}")
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"the environment variable {variable} has letters that no header can have: use ASCII only")
        return cls(name, value)


class ApiClient:
    """An HTTP client for one API.

    Example::

        client = ApiClient({"https://pets.test/v1"}, header=SecretHeader.from_environment("X-Key", "PETS_KEY"))
        await client.send(request)  # '{"id": 7, "name": "Rex"}'
    """

    def __init__(
        self,
        base_urls: Collection[str],
        *,
        header: SecretHeader | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Allow requests to the hosts of `base_urls`; `transport` carries them, the network by default."""
        self._origins = {_origin(url) for url in base_urls}
        self._header = header
        self._http = httpx.AsyncClient(follow_redirects=False, timeout=_TIMEOUT, transport=transport, trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, request: ApiRequest) -> str:
        """Send a request and return the body of the answer as text.

        Raises:
            ToolError: the service can't be reached, or answers with another status than 2xx; with the answer's body.
        """
        if _origin(request.url) not in self._origins:
            raise ToolError(f"{request.url} is no address of this API")
        headers = dict(request.headers)
        if request.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in request.cookies.items())
        if self._header is not None:
            headers[self._header.name] = self._header.value
        body: dict[str, Any] = {}
        if request.media_type == FORM:
            body["data"] = request.body
        elif request.media_type is not None:
            headers["Content-Type"] = request.media_type
            body["content"] = json.dumps(request.body, ensure_ascii=False).encode()
        query = httpx.QueryParams(tuple(request.query)) if request.query else None
        try:
            async with self._http.stream(
                request.method, request.url, params=query, headers=headers, **body
            ) as response:
                data, cut = await _read(response)
        except httpx.HTTPError as error:
            raise ToolError(f"{request.method} {request.url} failed: {type(error).__name__} {error}") from None
        text = self._without_secret(as_text(data)) + ("\n(cut: the answer is longer)" if cut else "")
        if response.is_redirect:
            place = self._without_secret(response.headers.get("location", ""))
            raise ToolError(f"status {response.status_code}: it redirects to {place}, which is not followed")
        if not response.is_success:
            raise ToolError(f"status {response.status_code} {response.reason_phrase}: {text}")
        return text if data else f"status {response.status_code} {response.reason_phrase}, no content"

    def _without_secret(self, text: str) -> str:
        """Some services send back what they were sent."""
        if self._header is None:
            return text
        for secret in (self._header.value, *self._header.value.split()[-1:]):  # the whole before its part
            text = text.replace(secret, "[secret]")
        return text


async def _read(response: httpx.Response) -> tuple[bytes, bool]:
    data = b""
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > _MAX_BYTES:
            return _HALF_CHARACTER.sub(b"", data[:_MAX_BYTES]), True
    return data, False


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
