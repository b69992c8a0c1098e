"""A small API on a real socket, and the document that describes it."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

PET = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "name": {"type": "string", "example": "Rex"},
        "tag": {"type": "string", "nullable": True},
        "parents": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}},
    },
}


def document(address):
    """The API's document, with references, parameters of every place, and what no tool can be made of."""
    found = {"200": {"description": "found"}}
    tag = {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}}
    pet_id = {"name": "petId", "in": "path", "required": True, "description": "Its id.", "schema": {"type": "integer"}}
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}
    return {
        "openapi": "3.0.3",
        "info": {"title": "Pets", "version": "1"},
        "servers": [{"url": f"{address}/{{version}}", "variables": {"version": {"default": "v1"}}}],
        "paths": {
            "/pets": {
                "get": {"operationId": "listPets", "summary": "List pets", "parameters": [tag], "responses": found},
                "post": {"operationId": "addPet", "summary": "Add a pet", "requestBody": body, "responses": found},
            },
            "/pets/{petId}": {
                "parameters": [{"$ref": "#/components/parameters/PetId"}],
                "get": {"operationId": "getPet", "responses": found},
                "delete": {"operationId": "delete pet!", "responses": found},
            },
            "/upload": {"post": {"operationId": "upload", "responses": found, "requestBody": {
                "required": True, "content": {"image/png": {}}}}},
            "/elsewhere": {"get": {"operationId": "elsewhere", "responses": found}},
            "/broken": {"get": {"operationId": "broken", "responses": found, "parameters": [
                {"$ref": "#/components/parameters/Missing"}]}},
        },
        "components": {"schemas": {"Pet": PET}, "parameters": {"PetId": pet_id}},
    }  # fmt: skip


@dataclass
class PetStore:
    """What a test holds of the service."""

    address: str = ""
    pets: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    """(method, path, query, headers, body) of each."""
    reply: tuple | None = None
    """(status, headers, body) of all further answers."""


@contextmanager
def running():
    """Serve in a thread; yields the `PetStore`."""
    store = PetStore()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(store))
    server.daemon_threads = True
    store.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield store
    server.shutdown()
    server.server_close()


def handler(store):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            parts = urlsplit(self.path)
            store.requests.append((self.command, parts.path, parse_qsl(parts.query), dict(self.headers), body))
            status, headers, data = store.reply or self.pets(parts.path, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def pets(self, path, body):
            if self.command == "POST":
                pet = {"id": len(store.pets) + 1, **json.loads(body)}
                store.pets[pet["id"]] = pet
                return 201, {}, json.dumps(pet).encode()
            if path.startswith("/v1/pets/"):
                pet = store.pets.get(int(path.rpartition("/")[2]))
                if pet is None:
                    return 404, {}, b'{"error": "no such pet"}'
                if self.command == "DELETE":
                    del store.pets[pet["id"]]
                    return 204, {}, b""
                return 200, {}, json.dumps(pet).encode()
            return 200, {}, json.dumps(list(store.pets.values())).encode()

        do_GET = do_POST = do_DELETE = answer

    return Handler
