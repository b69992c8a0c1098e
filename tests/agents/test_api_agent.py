"""An agent made of an OpenAPI document: the scripted model over one socket, the API over another."""

import asyncio
import json

import pet_store
import pytest
from pet_store import document
from scripted_endpoint import Say, call

from fulmen.agents.api_agent import ApiAgent
from fulmen.agents.confirm import allow_named
from fulmen.agents.openapi import ApiClient, SecretHeader, api_tools, load_document
from fulmen.chat.message import ToolCall
from fulmen.tools.registry import ToolRegistry


@pytest.fixture(scope="module")
def service():
    with pet_store.running() as store:
        yield store


@pytest.fixture
def store(service):
    service.pets.clear()
    service.requests.clear()
    service.reply = None
    return service


@pytest.fixture
def load(store, tmp_path):
    """Write a document to a file and read it."""

    def load(data=None, *, name="pets.json", **options):
        path = tmp_path / name
        path.write_text(json.dumps(document(store.address) if data is None else data))
        return load_document(path, **options)

    return load


@pytest.fixture
def registry(load):
    def registry(data=None, *, header=None, **options):
        read = load(data, **options)
        client = ApiClient({operation.base_url for operation in read.operations}, header=header)
        return ToolRegistry(api_tools(read, client)[0])

    return registry


@pytest.fixture
def use(registry):
    """Call one tool of a document with one operation that has these parameters or this body."""

    def use(arguments, *, parameters=(), body=None, path="/x", method="get", data=None, base_url=None):
        operation = {"operationId": "it", "parameters": list(parameters), "responses": {}}
        if body is not None:
            operation["requestBody"] = {"required": True, "content": body}
        data = data or {"openapi": "3.1.0", "paths": {path: {method: operation}}}
        tools = registry(data, base_url=base_url)
        return asyncio.run(tools.call(ToolCall(id="1", name="it", arguments=json.dumps(arguments))))

    return use


def test_the_robot_looks_up_adds_and_removes(endpoint, store, registry, carry_out):
    def remove(request):
        return Say(calls=(call("delete_pet", petId=json.loads(endpoint.results()[-1])["id"]),))

    endpoint.say(Say(calls=(call("listPets"),)), Say(calls=(call("addPet", body={"name": "Rex"}),)), remove, "Done.")
    _, ended = carry_out(
        "Add Rex and remove it.",
        agent=ApiAgent(),
        registry=registry(),
        confirm=allow_named({"addPet", "delete_pet"}),
    )
    assert endpoint.results() == ["[]", '{"id": 1, "name": "Rex"}', "status 204 No Content, no content"]
    assert [request[:2] for request in store.requests] == [
        ("GET", "/v1/pets"), ("POST", "/v1/pets"), ("DELETE", "/v1/pets/1"),
    ]  # fmt: skip
    assert ended.outcome == "answered"


def test_what_changes_something_needs_consent(endpoint, store, registry, carry_out):
    endpoint.say(Say(calls=(call("getPet", petId=7), call("addPet", body={"name": "Rex"}))), "I may not.")
    carry_out(agent=ApiAgent(), registry=registry())
    missing, refused = endpoint.results()
    assert missing == 'Error: status 404 Not Found: {"error": "no such pet"}'
    assert refused.startswith("Not called: addPet needs the user's consent")
    assert [request[0] for request in store.requests] == ["GET"]


def test_operations_become_tools_with_their_schemas(load):
    read = load()
    tools, skipped = api_tools(read, ApiClient(["http://x"]))
    by_name = {tool.name: tool for tool in tools}
    assert {name: tool.dangerous for name, tool in by_name.items()} == {
        "listPets": False, "addPet": True, "getPet": False, "delete_pet": True, "elsewhere": False,
    }  # fmt: skip
    assert by_name["getPet"].parameters == {
        "type": "object",
        "properties": {"petId": {"type": "integer", "description": "Its id."}},
        "additionalProperties": False,
        "required": ["petId"],
    }
    added = by_name["addPet"].parameters
    assert added["properties"]["body"] == {"$ref": "#/$defs/Pet"}
    assert added["$defs"]["Pet"]["properties"] == {
        "id": {"type": "integer"},
        "name": {"type": "string"},
        "tag": {"type": ["string", "null"]},
        "parents": {"type": "array", "items": {"$ref": "#/$defs/Pet"}},
    }
    assert skipped == (
        "POST /upload: its body is image/png; JSON and forms are supported",
        "GET /broken: #/components/parameters/Missing does not exist",
    )


def test_arguments_are_checked_against_the_documents_schemas(registry, store):
    tools = registry()
    bodies = ({}, {"name": 1}, {"name": "A", "parents": [{"name": "B", "parents": [{"tag": "no name"}]}]})
    for body in bodies:
        result = asyncio.run(tools.call(ToolCall(id="1", name="addPet", arguments=json.dumps({"body": body}))))
        assert result.failed
        assert "arguments.body" in result.content
    assert not store.requests


QUERY = {"name": "q", "in": "query"}


@pytest.mark.parametrize(
    ("parameter", "value", "sent"),
    [
        (QUERY, "a&b=c", [("q", "a&b=c")]),
        (QUERY, True, [("q", "true")]),
        (QUERY, ["a", "b,c"], [("q", "a"), ("q", "b,c")]),
        (QUERY | {"explode": False}, ["a", "b"], [("q", "a,b")]),
        (QUERY | {"style": "pipeDelimited"}, ["a", "b"], [("q", "a|b")]),
        (QUERY, {"x": 1, "y": "z"}, [("x", "1"), ("y", "z")]),
        (QUERY | {"style": "deepObject"}, {"x": 1}, [("q[x]", "1")]),
        (QUERY | {"content": {"application/json": {"schema": {}}}}, {"x": [1]}, [("q", '{"x": [1]}')]),
        (QUERY, None, []),
    ],
)
def test_query_parameters_are_written_as_the_document_says(use, store, parameter, value, sent):
    result = use({"q": value}, parameters=[parameter], base_url=store.address)
    assert not result.failed
    assert store.requests[0][2] == sent


def test_a_value_can_not_leave_its_place_in_the_path(use, store):
    parameters = [{"name": "id", "in": "path", "schema": {"type": "string"}}]
    use({"id": "../../admin?x=1#y"}, parameters=parameters, path="/pets/{id}", base_url=f"{store.address}/v1/")
    assert store.requests[0][1:3] == ("/v1/pets/..%2F..%2Fadmin%3Fx%3D1%23y", [])
    for value in ("..", ".", ""):
        result = use({"id": value}, parameters=parameters, path="/pets/{id}", base_url=store.address)
        assert "can't stand in a path" in result.content
    assert len(store.requests) == 1


def test_headers_and_cookies(use, store):
    parameters = [
        {"name": "X-Trace", "in": "header"}, {"name": "lang", "in": "cookie"},
        {"name": "Authorization", "in": "header", "required": True},
    ]  # fmt: skip
    use({"X-Trace": ["a", "b"], "lang": "de"}, parameters=parameters, base_url=store.address)
    headers = store.requests[0][3]
    assert (headers["X-Trace"], headers["Cookie"]) == ("a,b", "lang=de")
    assert "Authorization" not in headers
    result = use({"X-Trace": "a\r\nHost: evil"}, parameters=parameters, base_url=store.address)
    assert "one line" in result.content


def test_parameters_of_one_name_are_told_apart(use, store):
    parameters = [{"name": "id", "in": "path"}, {"name": "id", "in": "query"}, {"name": "body", "in": "query"}]
    body = {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}
    use(
        {"path_id": "a", "query_id": "b", "query_body": "c", "body": {"x": "1 2", "y": [1, 2]}},
        parameters=parameters, body=body, path="/{id}", method="post", base_url=store.address,
    )  # fmt: skip
    method, path, query, headers, sent = store.requests[0]
    assert (method, path, query) == ("POST", "/a", [("id", "b"), ("body", "c")])
    assert (headers["Content-Type"], sent) == ("application/x-www-form-urlencoded", "x=1+2&y=1&y=2")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("Bearer abc ", "hello, [secret], [secret]"), ("\tabc\n", "hello, Bearer [secret], [secret]")],
)
def test_a_secret_with_spaces_around_it_hides_nothing_else(registry, store, monkeypatch, value, shown):
    monkeypatch.setenv("PETS_AUTH", value)
    tools = registry(header=SecretHeader.from_environment("Authorization", "PETS_AUTH"))
    store.reply = 200, {}, b"hello, Bearer abc, abc"
    result = asyncio.run(tools.call(ToolCall(id="1", name="listPets", arguments="{}")))
    assert result.content == shown
    assert store.requests[0][3]["Authorization"] == value.strip()


@pytest.mark.parametrize(
    ("value", "message"), [(" ", "PETS_AUTH is not set"), ("a\nb", "that no header can have"), ("ä", "use ASCII only")]
)
def test_a_secret_that_can_not_be_sent_is_refused(monkeypatch, value, message):
    monkeypatch.setenv("PETS_AUTH", value)
    with pytest.raises(ValueError, match=message):
        SecretHeader.from_environment("Authorization", "PETS_AUTH")


def test_the_secret_header_is_sent_and_never_shown(registry, store, monkeypatch):
    monkeypatch.setenv("PETS_AUTH", "Bearer s3cret-token")
    tools = registry(header=SecretHeader.from_environment("Authorization", "PETS_AUTH"))
    store.reply = 403, {}, b"Bearer s3cret-token may not; the token s3cret-token is old"
    result = asyncio.run(tools.call(ToolCall(id="1", name="listPets", arguments="{}")))
    assert store.requests[0][3]["Authorization"] == "Bearer s3cret-token"
    assert result.content == "Error: status 403 Forbidden: [secret] may not; the token [secret] is old"
    assert "s3cret" not in repr(SecretHeader.from_environment("Authorization", "PETS_AUTH"))
    monkeypatch.delenv("PETS_AUTH")
    with pytest.raises(ValueError, match="PETS_AUTH is not set"):
        SecretHeader.from_environment("Authorization", "PETS_AUTH")


def test_redirects_are_not_followed(registry, store):
    with pet_store.running() as other:
        store.reply = 302, {"Location": f"{other.address}/steal"}, b""
        result = asyncio.run(registry().call(ToolCall(id="1", name="listPets", arguments="{}")))
        assert result.failed
        assert "which is not followed" in result.content
        assert not other.requests


def test_no_other_host_is_reached(load, store):
    with pet_store.running() as other:
        read = load(base_url=other.address)
        tools = ToolRegistry(api_tools(read, ApiClient([store.address]))[0])
        result = asyncio.run(tools.call(ToolCall(id="1", name="listPets", arguments="{}")))
        assert "is no address of this API" in result.content
        assert not other.requests


@pytest.mark.parametrize(
    ("reply", "start"),
    [
        ((200, {}, b"x" * 3_000_000), "xxx"),
        ((200, {}, "x\u20ac".encode() * 900_000), "x\u20ac"),
        ((200, {}, b"\x89PNG\0\xff"), "(binary data: a PNG image"),
        ((500, {}, b"oops"), "Error: status 500 Internal Server Error: oops"),
    ],
)
def test_floods_bytes_and_failures_are_messages(registry, store, reply, start):
    store.reply = reply
    result = asyncio.run(registry().call(ToolCall(id="1", name="listPets", arguments="{}")))
    assert result.content.startswith(start)
    assert len(result.content) < 20_000


def test_a_service_that_is_not_there(use):
    result = use({}, base_url="http://127.0.0.1:9")
    assert result.content.startswith("Error: GET http://127.0.0.1:9/x failed: ConnectError")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"swagger": "2.0", "paths": {}}, "a document of version 2.0; OpenAPI 3.0 and 3.1 are read"),
        ({"paths": {}}, "without an `openapi` field"),
        ([], "it must hold an object"),
        ({"openapi": "3.1.0"}, "paths must be an object"),
        ({"openapi": "3.1.0", "paths": {}}, "it describes no operation"),
        ({"openapi": "3.1.0", "paths": {"/x": {"get": {}}}}, "GET /x: the document names no server: give a base URL"),
        (
            {"openapi": "3.1.0", "servers": [{"url": "/v1"}], "paths": {"/x": {"get": {}}}},
            "'/v1', which is no whole http or https URL: give a base URL",
        ),
        (
            {"openapi": "3.1.0", "paths": {"/x": {"get": {"parameters": [{"name": "a", "in": "body"}]}}}},
            "a parameter needs a name and a place",
        ),
        (
            {"openapi": "3.1.0", "servers": [{"url": "http://x"}], "paths": {"/x": {"get": {"parameters": 3}}}},
            "GET /x: parameters must be a list, not 3",
        ),
        ({"openapi": "3.1.0", "servers": {"url": "http://x"}, "paths": {"/x": {"get": {}}}}, "servers must be a list"),
        ({"openapi": "3.1.0", "paths": {"/x": {"$ref": "other.json#/x"}}}, "other.json#/x is outside the document"),
        ({"openapi": "3.1.0", "paths": {"/x": {"$ref": "#/paths/~1x"}}}, "refers to itself"),
    ],
)
def test_documents_that_can_not_be_used_are_named_with_the_reason(load, data, reason):
    with pytest.raises(ValueError, match="pets.json: ") as error:
        load(data)
    assert reason in str(error.value)


def test_files_that_are_no_document(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "a.yaml").write_text("a: [")
    for name, reason in (("a.json", "Expecting"), ("a.yaml", "it is no YAML"), ("b.json", "no such file")):
        with pytest.raises(ValueError, match=reason):
            load_document(tmp_path / name)


def test_yaml_and_a_base_url_of_the_users_choice(store, tmp_path):
    path = tmp_path / "api.yaml"
    path.write_text(
        "openapi: 3.1.0\npaths:\n  /x:\n    parameters:\n    get:\n      summary: Look\n      parameters:\n"
        "      - {name: day, in: query, schema: {default: 2020-01-31}}\n"
    )
    [operation] = load_document(path, base_url=store.address).operations
    assert operation.parameters[0].schema == {"default": "2020-01-31"}  # a date would fit into no request
    assert (operation.name, operation.description, operation.base_url) == ("get_/x", "Look", store.address)
    with pytest.raises(ValueError, match="may have no user"):
        load_document(path, base_url="http://me:word@x")


def test_some_operations_only(load):
    tools, _ = api_tools(load(), ApiClient(["http://x"]), only=("getPet",))
    assert [tool.name for tool in tools] == ["getPet"]
    with pytest.raises(ValueError, match="no operation 'fly'; it has: listPets, addPet"):
        api_tools(load(), ApiClient(["http://x"]), only=("fly",))
