"""Tools made of an OpenAPI document: each operation becomes a tool that calls the service that the document describes.

`document` reads the operations, `schema` makes the arguments' JSON schema, `request` turns arguments into a request,
`client` sends it, and `tools` puts them together.
"""

from fulmen.agents.openapi.client import ApiClient, SecretHeader
from fulmen.agents.openapi.document import ApiDocument, load_document
from fulmen.agents.openapi.tools import api_tools

__all__ = ["ApiClient", "ApiDocument", "SecretHeader", "api_tools", "load_document"]
