"""The search in local documents as the search agent needs it: passages as data, so that each keeps its own place."""

from typing import Annotated

from pydantic import Field

from fulmen.tools.documents import DocumentIndex
from fulmen.tools.function import tool_from_function
from fulmen.tools.tool import Tool

SEARCH_DOCUMENTS = "search_documents"


def passage_search(index: DocumentIndex, *, folder: str = "") -> Tool:
    """Make the tool `search_documents`, whose result is a list of `{"place": "guide.md:3-9", "text": ...}`.

    Args:
        index: what is searched.
        folder: its name, for places to tell it from other folders by, as in "notes: guide.md:3-9".
    """

    def search_documents(query: str, count: Annotated[int, Field(ge=1, le=10)] = 3) -> list[dict[str, str]]:
        """Search the documents.

        Args:
            query: words that the passage should contain.
            count: how many passages to return.
        """
        return [
            {
                "place": f"{folder}: {passage.citation}" if folder else passage.citation,
                "text": f"{passage.heading}: {passage.text}" if passage.heading else passage.text,
            }
            for passage in index.search(query, count=count)
        ]

    return tool_from_function(search_documents, name=SEARCH_DOCUMENTS)
