"""The search agent: a question, a plan, searches, and an answer whose citations were checked.

What the search tools bring is numbered passage by passage. An answer cites these numbers, and one that cites a passage
that was never seen, or none at all, is sent back with the reason.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fulmen.agents.agent import DATA_RULE, Agent
from fulmen.agents.records import Source, plain
from fulmen.agents.state import RunState
from fulmen.chat.message import Message, ToolCall

NOT_FOUND = "Not found"
"""How an answer begins that says that the passages do not answer the question; it needs no citation."""

_CITATION = re.compile(r"\[(\d{1,9}(?:\s*,\s*\d{1,9})*)\]")
_SYSTEM = (
    "You answer questions from what searches bring. Every passage of a result has a number in brackets. Support each "
    "statement of your answer by the number of the passage that says it, as in: The port is 8000 [2]. Cite only "
    "passages that you have seen. Search again with other words when the passages don't answer the question; if "
    f'nothing does, begin your answer with "{NOT_FOUND}". {DATA_RULE}'
)
_PLAN = "First write a plan of at most five lines: what must be found out, and with which searches. Don't answer yet."
_GO = "Now carry out the plan with the search tools, and then answer the question."
_TEXT_KEYS = ("text", "content", "snippet", "passage", "body", "description")
_PLACE_KEYS = ("citation", "place", "source", "url", "link", "href", "path", "title")


@dataclass(frozen=True, kw_only=True)
class SearchAgent(Agent):
    """Answers a question from the local documents, or from any search tool.

    Example: `SearchAgent(search_tools=("search_documents",))`, with the tool of `passage_search`.
    """

    kind: ClassVar[str] = "search"
    system: str = _SYSTEM
    search_tools: tuple[str, ...]
    """Tools whose results are passages."""
    plan: bool = True
    """Begin with a plan, for which no tools are offered."""

    def check_tools(self, names: Collection[str]) -> None:
        """Refuse with ValueError to begin without a search tool."""
        if not self.search_tools:
            raise ValueError("the search agent needs a search tool")
        if missing := [name for name in self.search_tools if name not in names]:
            raise ValueError(f"there is no search tool {missing[0]!r}; the tools are: {', '.join(names) or 'none'}")

    def opening(self, task: str) -> tuple[Message, ...]:
        """Return the question, and the request for a plan."""
        *system, question = super().opening(task)
        text = f"Question: {question.content}" + (f"\n\n{_PLAN}" if self.plan else "")
        return (*system, Message(role="user", content=text))

    def offers_tools(self, state: RunState) -> bool:
        """There are no tools for the plan."""
        return not self.plan or state.steps > 0

    def present(self, state: RunState, call: ToolCall, content: str, failed: bool) -> tuple[str, tuple[Source, ...]]:
        """Number the passages of a search's result."""
        if failed or call.name not in self.search_tools:
            return content, ()
        sources: list[Source] = []
        lines = []
        known = {(source.place, source.text): source for source in state.sources}
        for named_place, text in _passages(content):
            place = named_place or call.name
            source = known.get((place, text))
            if source is None:
                source = Source(number=len(state.sources) + len(sources) + 1, place=place, text=text)
                known[place, text] = source
                sources.append(source)
            lines.append(f"[{source.number}] ({place}) {text}")
        return "\n\n".join(lines) or "Nothing was found.", tuple(sources)

    def follow_up(self, state: RunState) -> str | None:
        """After the plan: carry it out."""
        return _GO if self.plan and state.steps == 1 else None

    def objection(self, state: RunState) -> str | None:
        """Check the answer's citations against the passages that were seen."""
        answer = state.messages[-1].content
        searched = any(call.name in self.search_tools for message in state.messages for call in message.tool_calls)
        if not searched:
            return "You have not searched. Search first, and answer from what you find."
        seen = {source.number for source in state.sources}
        cited = citations(answer)
        if unknown := sorted(set(cited) - seen):
            numbers = f"the passages that you have seen are 1 to {max(seen)}" if seen else "no passage was found"
            return f"You cite {_listed(unknown)}, which does not exist: {numbers}. Correct the answer."
        if not cited and not answer.strip().lower().startswith(NOT_FOUND.lower()):
            return (
                "Your answer cites no passage. Add the numbers of the passages that support it, as in [2], or begin it "
                f'with "{NOT_FOUND}" if none does.'
            )
        return None


def citations(text: str) -> tuple[int, ...]:
    """Return the numbers that a text cites, in order.

    Example: `citations("Seven [2], or eight [1, 3].")` is `(2, 1, 3)`.
    """
    numbers = [int(number) for group in _CITATION.findall(text) for number in group.split(",")]
    return tuple(dict.fromkeys(numbers))


def cited_sources(answer: str, sources: Sequence[Source]) -> tuple[Source, ...]:
    """Return the passages that an answer cites, in order."""
    by_number = {source.number: source for source in sources}
    return tuple(by_number[number] for number in citations(answer) if number in by_number)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(f"[{number}]" for number in numbers)


def _passages(content: str) -> list[tuple[str, str]]:
    """Cut a search's result into (place, text): by its JSON if it is JSON, else it is one passage.

    A text is never cut by marks in it: a document could hold such marks, and speak in another one's name.
    """
    try:
        return [(plain(place), plain(text)) for place, text in _read_passages(json.loads(content))]
    except (ValueError, RecursionError):
        return [("", content.strip())] if content.strip() else []


def _read_passages(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        text = _text_of(value)
        if text is not None:
            return [(next((str(value[key]) for key in _PLACE_KEYS if value.get(key)), ""), text.strip())]
        lists = [child for child in value.values() if isinstance(child, list) and child]
        # {"results": [...]} under whatever name; beside it there may be lists of pictures, or of further questions.
        if found := [child for child in lists if any(map(_text_of, child))]:
            return [passage for child in found for passage in _read_passages(child)]
        if len(lists) == 1:
            return _read_passages(lists[0])
        return [("", json.dumps(value, ensure_ascii=False))]
    if isinstance(value, list):
        return [passage for child in value for passage in _read_passages(child)]
    return [("", str(value))]


def _text_of(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return None
    return next((value[key] for key in _TEXT_KEYS if isinstance(value.get(key), str)), None)
