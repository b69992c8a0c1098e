"""Searching documents: a question becomes a search, and the passages found an answer that cites the right one."""

import random
import re
from collections.abc import Iterator, Sequence

from fulmen.chat.message import Message, ToolSpec
from fulmen.tasks.calls.cases import Turn, conversation
from fulmen.tasks.calls.requests import Request, beginning, without_end
from fulmen.tasks.calls.situation import Offer, calling, document_specs, draw_tools
from fulmen.tasks.calls.tools import InventedTool
from fulmen.tasks.lexicon import random_source, words
from fulmen.tasks.reading.questions import KINDS, Question
from fulmen.tasks.reading.world import World, draw_world
from fulmen.tasks.task import Example, Score, Split
from fulmen.tasks.wording import capital, plural, says, says_only
from fulmen.tools.calculator import CALCULATOR
from fulmen.tools.passages import Passage

NOT_FOUND = "Not found in the documents."
_SEARCH = "search_documents"
_NOT_SEARCHED = frozenset(
    {
        "a", "an", "are", "at", "be", "been", "did", "do", "does", "for", "has", "have", "how", "in", "is", "long",
        "many", "much", "of", "on", "the", "there", "to", "was", "were", "what", "when", "where", "which", "who",
        "whom", "why",
    }
)  # fmt: skip
_NOTHING = ("no passage has a word of {!r}; try other words", "Nothing was found.")
_CITATION = re.compile(r"\[([^\]]*)\]")
_SUFFIXES = (".md", ".md", ".txt", ".rst")
_OPENINGS = ("{}", "{}", "{}", "Look in the documents: {}", "{} Search the documents.", "Question: {}")


class DocumentSearchTask:
    """Questions about a world that documents describe: a third of the examples end with the search, the others go on
    to the answer with its citation, or to the words that nothing was found.
    """

    name = "document_search"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            offer = _draw_offer(rng, split)
            yield conversation([document_turn(rng, split, offer)], offer)

    def score(self, example: Example, reply: Message) -> Score:
        """1 for one search with all words that the question goes by; after it for the answer and what it cites."""
        if "query" in example.reference:
            return _score_search(example.reference["query"], reply)
        answer, cited = example.reference["answer"], example.reference["cited"]
        said_alone = says_only(_CITATION.sub("", reply.content), answer, example.reference["wrong"])
        right = said_alone and _CITATION.findall(reply.content) == cited and not reply.tool_calls
        return Score(value=float(right), why="" if right else f"{answer!r} was expected, citing {cited}")


def document_turn(rng: random.Random, split: Split, offer: Offer) -> Turn:
    """A question that wants a search, or has had it and wants the answer."""
    question = None
    while question is None:
        world = draw_world(rng, split)
        question = KINDS["lookup" if rng.random() < 0.8 else "not_said"](rng, split, world)
    query = searched(question.text)
    text = rng.choice(_OPENINGS).format(question.text)
    request = Request(text=text, deed=beginning(text), phrases={"query": without_end(question.text)})
    call = calling([offer.planned(_SEARCH, {"query": query}, request)])
    if rng.random() < 1 / 3:
        return Turn(text=text, reply=call, reference={"query": query})
    found, cited, reply = _draw_findings(rng, split, world, question, query)
    return Turn(
        text=text,
        between=(call, Message(role="tool", content=found, tool_call_id=call.tool_calls[0].id)),
        reply=reply,
        reference={
            "answer": question.answer if cited else NOT_FOUND.rstrip("."),
            "cited": [cited] if cited else [],
            "wrong": list(question.wrong),
        },
    )


def _score_search(query: str, reply: Message) -> Score:
    names = [call.name for call in reply.tool_calls]
    right = names == [_SEARCH] and all(says(reply.tool_calls[0].arguments, word) for word in query.split())
    return Score(
        value=float(right), why="" if right else f"a search for {query!r} was expected, not {reply.tool_calls}"
    )


def searched(question: str) -> str:
    """The words of a question that a search goes by.

    Example: `searched("Where does Ada live?")` is "Ada live".
    """
    return " ".join(word for word in question.rstrip("?.").split() if word.lower() not in _NOT_SEARCHED)


def _draw_offer(rng: random.Random, split: Split) -> Offer:
    search, read = document_specs()
    tools: list[ToolSpec | InventedTool] = [search]
    tools += [read] if rng.random() < 0.6 else []
    tools += [CALCULATOR] if rng.random() < 0.3 else []
    if rng.random() < 0.4:
        tools += draw_tools(rng, split)[0][:2]
    return Offer.of(rng.sample(tools, len(tools)))


def _draw_findings(
    rng: random.Random, split: Split, world: World, question: Question, query: str
) -> tuple[str, str, Message]:
    """What the search brings, the place that answers the question ("" for none), and the reply."""
    told = [fact.sentence(rng) for fact in world.facts]
    answering = next((i for i, fact in enumerate(world.facts) if fact.thought() == question.thinking), None)
    if answering is None and rng.random() < 0.4:
        thinking = f"{query}: not found"
        return rng.choice(_NOTHING).format(query), "", Message(role="assistant", thinking=thinking, content=NOT_FOUND)
    passages = _draw_passages(rng, split, told)
    found = "\n\n".join(rng.sample(list(passages.values()), len(passages)))
    if answering is None:
        return found, "", Message(role="assistant", thinking=question.thinking, content=NOT_FOUND)
    cited = next(cited for cited, passage in passages.items() if told[answering] in passage)
    thinking, content = f"{question.thinking}; in {cited}", f"{question.answer} [{cited}]"
    return found, cited, Message(role="assistant", thinking=thinking, content=content)


def _draw_passages(rng: random.Random, split: Split, sentences: Sequence[str]) -> dict[str, str]:
    """The sentences in up to three passages of documents, some with headings and paragraphs.

    By how an answer cites them, by number or by file and lines: as a result has them.
    """
    numbered = rng.random() < 0.4
    size = -(-len(sentences) // rng.randint(1, 3))
    passages: dict[str, str] = {}
    starts = range(0, len(sentences), size)
    names = rng.sample(words("things", split), len(starts))
    for number, (first, name) in enumerate(zip(starts, names, strict=True), start=1):
        part = sentences[first : first + size]
        path = name + rng.choice(_SUFFIXES)
        together = rng.choice((1, 2, 3, len(part)))
        paragraphs = [" ".join(part[i : i + together]) for i in range(0, len(part), together)]
        heading, line = "", rng.randint(1, 90)
        if not numbered and rng.random() < 0.6:
            kind, city = rng.choice(words("things", split)), rng.choice(words("cities", split))
            heading, line = f"{capital(plural(kind))} {rng.choice(('of', 'in'))} {city}", 1
            paragraphs.insert(0, f"# {heading}")
        last = line + 2 * (len(paragraphs) - 1)
        text = "\n\n".join(paragraphs)
        passage = Passage(path=path, first_line=line, last_line=last, heading=heading, text=text)
        if numbered:
            passages[str(number)] = f"[{number}] ({passage.citation}) {text}"
        else:
            passages[passage.citation] = passage.shown()
    return passages
