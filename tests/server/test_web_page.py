"""The chat page's files over HTTP: headers, caching, what is open; the page in a browser is in page/."""

import gzip
import re

import httpx
import pytest
from serving import running

from fulmen.server.served_model import ServerOptions
from fulmen.server.web_page import FOLDER, MEDIA_TYPES

LIMIT = 1_000_000
"""Bytes of the page with all its libraries, uncompressed."""
FILES = sorted(file for file in FOLDER.rglob("*") if file.is_file())
OWN = [file for file in FILES if "vendor" not in file.parts and file.suffix in {".js", ".css", ".html"}]


def policy(response):
    """The content security policy as a dictionary."""
    rules = (rule.strip().partition(" ") for rule in response.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in rules}


def test_page_has_a_strict_policy(http):
    response = http.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    rules = policy(response)
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == rules["font-src"] == "'self'"
    assert rules["img-src"] == "'self' data:"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


def test_every_file_of_the_page_is_served_with_the_policy(http):
    for file in FILES:
        path = f"/page/{file.relative_to(FOLDER).as_posix()}"
        response = http.get(path)
        if file.suffix not in MEDIA_TYPES:
            assert response.status_code == 404, path  # licences and the list of versions
            continue
        assert response.status_code == 200, path
        assert response.content == file.read_bytes(), path
        assert response.headers["content-type"] == MEDIA_TYPES[file.suffix], path
        assert policy(response) == policy(http.get("/")), path


def test_answer_is_compressed_for_those_who_can_read_it(http):
    with http.stream("GET", "/page/app.js", headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(response.iter_raw())) == (FOLDER / "app.js").read_bytes()
    plain = http.get("/page/app.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"


def test_known_file_is_not_sent_again(http):
    first = http.get("/page/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = http.get("/page/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get("/page/app.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert http.get("/page/look.js").headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    "path", ["/page/", "/page/none.js", "/page/%2e%2e/app.py", "/page/..%2f..%2fapp.py", "/page//etc/passwd"]
)
def test_nothing_else_is_below_the_page(http, path):
    response = http.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"


def test_page_is_open_where_the_api_asks_for_a_key(served):
    with running(served, ServerOptions(api_keys=("k",))) as address:
        assert httpx.get(f"{address}/").status_code == 200
        assert httpx.get(f"{address}/page/app.js").status_code == 200
        assert httpx.head(f"{address}/").status_code == 200
        assert httpx.get(f"{address}/v1/models").status_code == 401
        assert httpx.get(f"{address}/page/../v1/models").status_code == 401
        assert httpx.get(f"{address}/page/%2e%2e/v1/models").status_code == 404
        assert httpx.get(f"{address}/pages").status_code == 401


def test_page_is_small_and_loads_nothing_from_elsewhere():
    assert sum(file.stat().st_size for file in FILES) < LIMIT
    for file in OWN:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//|import [^;]*\"https?:|@import|url\(", text), file
        assert not re.search(r"dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML|\beval\b", text), file


def test_every_import_of_the_page_is_there():
    for file in OWN:
        base = FOLDER if file.suffix == ".html" else file.parent
        for name in re.findall(r"(?:from|import) \"(\.[^\"]+)\"|(?:src|href)=\"page/([^\"]+)\"", file.read_text()):
            assert (base / (name[0] or name[1])).is_file(), (file, name)


def test_vendored_libraries_have_licences_and_versions():
    versions = (FOLDER / "vendor" / "VERSIONS").read_text()
    for folder in (FOLDER / "vendor").iterdir():
        if folder.is_dir():
            assert (folder / "LICENSE").is_file()
            assert re.search(rf"^{folder.name} +\S+ +\d+\.\d+\.\d+ ", versions, re.MULTILINE), folder.name


def test_model_card_says_how_the_model_thinks(http):
    card = http.get("/v1/models").json()["data"][0]
    assert (card["thinks"], card["thinking_budget"]) == (True, None)
