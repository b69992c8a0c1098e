"""The chat page at `/` and its files under `/page/`: static, small, read once, served with strict headers.

The page talks to `/v1/models` and `/v1/chat/completions` like any other client. What a model writes ends up in it, so
the policy below lets the browser run the page's own files and nothing else, and send nothing to another host.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from fulmen.server.errors import ApiError

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).with_name("page")
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
"""The files that are served, by suffix; not the system's table, which browsers must not depend on. Licences stay."""

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "font-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    # Markup becomes elements through DOMPurify or not at all, where the browser knows trusted types.
    "require-trusted-types-for": "'script'",
    "trusted-types": "dompurify",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",  # kept by the browser, asked for again: an upgraded server never meets an old page
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    compressed: bytes
    media_type: str
    etag: str


@router.api_route("/", methods=["GET", "HEAD"], response_model=None)
async def index(request: Request) -> Response:
    """Return the page."""
    return _answer(request, "index.html")


@router.api_route("/page/{path:path}", methods=["GET", "HEAD"], response_model=None)
async def asset(path: str, request: Request) -> Response:
    """Return one of the page's files."""
    return _answer(request, path)


@cache
def _assets() -> dict[str, _Asset]:
    """All files by their path below the folder; a request looks up a name here and never touches the disk."""
    files = sorted(file for file in FOLDER.rglob("*") if file.suffix in MEDIA_TYPES)
    return {file.relative_to(FOLDER).as_posix(): _read(file) for file in files}


def _read(file: Path) -> _Asset:
    body = file.read_bytes()
    # By content: the time of a file says nothing, as installers set it as they like.
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return _Asset(body, gzip.compress(body, mtime=0), MEDIA_TYPES[file.suffix], etag)


def _answer(request: Request, path: str) -> Response:
    found = _assets().get(path)
    if found is None:
        raise ApiError(404, f"the page has no file {path!r:.200}")
    headers = {**_HEADERS, "ETag": found.etag}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    body = found.body
    if "gzip" in request.headers.get("accept-encoding", "") and len(found.compressed) < len(body):
        body, headers["Content-Encoding"] = found.compressed, "gzip"
    return Response(body, headers=headers, media_type=found.media_type)
