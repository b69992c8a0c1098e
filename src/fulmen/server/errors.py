"""Errors in OpenAI's form, `{"error": {"message", "type", "param", "code"}}`, for everything that can go wrong.

Parts below the server raise ValueError with the place in the request; here it becomes status 400 and a `param`.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fulmen.engine.request import ContextTooLong, QueueFull
from fulmen.engine.service import ServiceClosed

logger = logging.getLogger(__name__)

_PLACE = re.compile(r"[a-z_]+(?:\[\d+\]|\.[A-Za-z_][A-Za-z0-9_]*)*")
_ALTERNATIVES = {"str", "int"}
"""Names that pydantic puts into the path of an error for the alternatives of a union; others are no identifiers."""
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 503: "service_unavailable"}


class ApiError(HTTPException):
    """An error that the client sees.

    Example: `ApiError(404, "the model 'gpt' does not exist", param="model", code="model_not_found")`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.param = param
        self.code = code

    def response(self) -> JSONResponse:
        """Return the error as it goes over the wire."""
        body = error_body(self.status_code, self.detail, param=self.param, code=self.code)
        return JSONResponse(body, self.status_code, dict(self.headers or {}))


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return OpenAI's error object; the type follows from the HTTP status."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@contextmanager
def request_errors(*fields: str) -> Iterator[None]:
    """Turn what a request can do wrong into an `ApiError`.

    A ValueError becomes 400, with `param` when its message begins with a place in one of `fields`, as in
    `messages[2].content is missing`; a full queue becomes 429, and an engine that is being closed 503.
    """
    try:
        yield
    except QueueFull as error:
        raise ApiError(429, str(error), code="queue_full", headers={"Retry-After": "1"}) from error
    except ServiceClosed as error:
        raise ApiError(503, str(error), code="draining") from error
    except ContextTooLong as error:
        raise ApiError(400, str(error), param=fields[0], code="context_length_exceeded") from error
    except ValueError as error:
        place = _PLACE.match(str(error))
        known = place is not None and re.split(r"[.\[]", place[0])[0] in fields
        raise ApiError(400, str(error), param=place[0] if place and known else None, code="invalid_value") from error


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` answer in OpenAI's form."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_field)
    app.add_exception_handler(Exception, _on_bug)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, ApiError):
        return error.response()
    assert isinstance(error, HTTPException)
    messages = {
        404: f"{request.method} {request.url.path} does not exist",
        405: f"{request.url.path} does not take {request.method}",
    }
    message = messages.get(error.status_code, error.detail)
    return JSONResponse(error_body(error.status_code, message), error.status_code, error.headers)


async def _on_invalid_field(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = ""
    for step in first["loc"][1:]:  # the first names the part of the request: the body
        if isinstance(step, int):
            param += f"[{step}]"
        elif step not in _ALTERNATIVES and re.fullmatch(r"\w+", step):
            param += f".{step}" if param else step
    message = f"{param}: {first['msg']}" if param else first["msg"]
    return JSONResponse(error_body(400, message, param=param or None, code=first["type"]), 400)


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse(error_body(500, "the server failed; its log says how"), 500)
