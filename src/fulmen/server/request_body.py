"""Read a JSON body strictly, so that nothing behind this point meets text or numbers that it can't handle.

Python's parser takes NaN, infinite and endless numbers, halves of surrogate pairs and any depth that its stack
bears; each of these would break something later (an encoder, a tokenizer, a grammar) far from its cause.
"""

import json
import math
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from fulmen.server.errors import ApiError

_MAX_DEPTH = 64
_MAX_INTEGER = 2**64


class JsonRoute(APIRoute):
    """A route whose body is read by `parse_body`."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Return the handler, given requests that parse strictly."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return strict if self.body_field is not None else handler


class _JsonRequest(Request):
    async def body(self) -> bytes:
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise ApiError(415, f"the content type is {content_type!r}; it must be application/json")
        return await super().body()

    async def json(self) -> Any:
        return parse_body(await self.body())


def parse_body(body: bytes) -> dict[str, Any]:
    """Parse the body of a request.

    Raises:
        ApiError: 400, it is no UTF-8, no JSON object, nested more than 64 deep, or holds a number or a text that
            JSON allows and nothing can use: NaN, infinity, an integer beyond 64 bits, an unpaired surrogate.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_reject_constant)
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is no UTF-8: byte {error.start}", code="invalid_json") from error
    except RecursionError:
        raise ApiError(400, f"the body is nested more than {_MAX_DEPTH} deep", code="invalid_json") from None
    except ValueError as error:  # JSONDecodeError, and integers of more digits than Python converts
        raise ApiError(400, f"the body is no JSON: {error}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    _check_values(value)
    return value


def _check_values(root: dict[str, Any]) -> None:
    pending: list[tuple[Any, int]] = [(root, 1)]
    while pending:
        value, depth = pending.pop()
        if isinstance(value, str):
            if not value.isascii():
                _check_text(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ApiError(400, "the body holds a number that is not finite", code="invalid_json")
        elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
            raise ApiError(400, "the body holds an integer of more than 64 bits", code="invalid_json")
        elif isinstance(value, dict | list):
            if depth > _MAX_DEPTH:
                raise ApiError(400, f"the body is nested more than {_MAX_DEPTH} deep", code="invalid_json")
            children = [*value, *value.values()] if isinstance(value, dict) else value
            pending += [(child, depth + 1) for child in children]


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"the body holds an unpaired surrogate at character {error.start} of a string"
        raise ApiError(400, message, code="invalid_json") from None


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
