"""Documents cut into passages that can be found and cited: text, the lines where it stands, the headings above it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import PurePosixPath

_MOST_LETTERS = 1000
_MOST_LINES = 40
_HTML = frozenset({".html", ".htm", ".xhtml"})
_PROSE = frozenset({".md", ".markdown", ".rst", ".txt", ".text", ".org", ".adoc", ".tex", ""})
_SOURCE = frozenset(
    {
        ".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".hpp", ".rs", ".go", ".java", ".kt", ".js", ".mjs", ".jsx", ".ts",
        ".tsx", ".rb", ".php", ".pl", ".lua", ".sh", ".sql", ".r", ".jl", ".swift", ".scala", ".hs", ".ml", ".css",
        ".json", ".jsonl", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".csv", ".tsv", ".xml", ".log",
    }
)  # fmt: skip
SUFFIXES = _HTML | _PROSE | _SOURCE
"""Endings of the files that are read."""

_HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*$")
_FENCE = re.compile(r"\s*(```|~~~)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A piece of a document.

    Example::

        Passage(path="notes/paris.md", first_line=12, last_line=18, heading="Paris > History", text="The city ...")
    """

    path: str
    first_line: int
    last_line: int
    """Both counted from 1, both included."""
    heading: str
    """The headings above it, outermost first; empty where there are none."""
    text: str

    @property
    def citation(self) -> str:
        """Where it stands, as in `notes/paris.md:12-18`."""
        lines = f"{self.first_line}-{self.last_line}" if self.last_line > self.first_line else str(self.first_line)
        return f"{self.path}:{lines}"

    def shown(self) -> str:
        """As the result of a search has it."""
        heading = f" ({self.heading})" if self.heading else ""
        return f"[{self.citation}]{heading}\n{self.text}"


def passages_of(path: str, text: str) -> Iterator[Passage]:
    """Cut a document into passages of whole lines, at most 1,000 letters each, where paragraphs and headings end.

    A line that is longer by itself is a passage by itself, cut between words: pages made by programs have one line.
    """
    suffix = PurePosixPath(path).suffix.lower()
    lines = _html_lines(text) if suffix in _HTML else list(enumerate(text.splitlines(), start=1))
    yield from _cut(path, lines, headings=suffix in _HTML or suffix not in _SOURCE)


def _cut(path: str, lines: list[tuple[int, str]], *, headings: bool) -> Iterator[Passage]:
    above: list[tuple[int, str]] = []  # (level, title)
    pending: list[tuple[int, str]] = []
    fenced = False

    def passage() -> Iterator[Passage]:
        body = "\n".join(line for _, line in pending).strip("\n")
        if body.strip():
            filled = [number for number, line in pending if line.strip()]
            yield Passage(
                path=path,
                first_line=filled[0],
                last_line=filled[-1],
                heading=" > ".join(title for _, title in above),
                text=body,
            )
        pending.clear()

    for number, line in lines:
        fenced ^= headings and _FENCE.match(line) is not None
        title = _HEADING.match(line) if headings and not fenced else None
        letters = sum(len(text) for _, text in pending)
        ends_paragraph = not line.strip() and letters > _MOST_LETTERS // 2
        if title or ends_paragraph or len(pending) >= _MOST_LINES or letters + len(line) > _MOST_LETTERS:
            yield from passage()
        if title:
            level = len(line) - len(line.lstrip("#"))
            above = [*(entry for entry in above if entry[0] < level), (level, title[1])]
        for index, piece in enumerate(_pieces(line)):
            if index:
                yield from passage()
            pending.append((number, piece))
    yield from passage()


def _pieces(line: str) -> Iterator[str]:
    while len(line) > _MOST_LETTERS:
        space = line.rfind(" ", _MOST_LETTERS // 2, _MOST_LETTERS)
        cut = space if space > 0 else _MOST_LETTERS
        yield line[:cut]
        line = line[cut:].lstrip()
    yield line


class _Text(HTMLParser):
    """The text of a page by lines of its source; headings as in Markdown, so that one cutter serves both."""

    # Not `head`, which need not be closed: what it holds is among these or has no text.
    _SILENT = frozenset({"script", "style", "template", "noscript", "svg", "title"})
    _BLOCKS = frozenset(
        {"p", "div", "li", "tr", "br", "pre", "table", "ul", "ol", "section", "article", "blockquote", "dt", "dd"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[tuple[int, str]] = []
        self._current = ""
        self._started = 1
        self._silent = 0
        self._literal = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a line where a block begins; say nothing of scripts and styles."""
        self._silent += tag in self._SILENT
        self._literal += tag == "pre"
        if tag in self._BLOCKS or re.fullmatch("h[1-6]", tag):
            self.end_line(blank=tag == "p")
        if re.fullmatch("h[1-6]", tag):
            self._current = "#" * int(tag[1]) + " "

    def handle_endtag(self, tag: str) -> None:
        """End a line where a block ends."""
        if tag in self._BLOCKS or re.fullmatch("h[1-6]", tag):
            self.end_line(blank=tag in ("p", "table"))
        self._silent = max(0, self._silent - (tag in self._SILENT))
        self._literal = max(0, self._literal - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        """Add text to the line."""
        if self._silent:
            return
        if not self._current.strip("# "):
            self._started = self.getpos()[0] + data[: len(data) - len(data.lstrip())].count("\n")
        if self._literal:
            for index, line in enumerate(data.split("\n")):
                if index:
                    self.end_line()
                    self._started = self.getpos()[0] + index
                self._current += line
        else:
            self._current += re.sub(r"\s+", " ", data)

    def end_line(self, *, blank: bool = False) -> None:
        """Keep what has come as a line."""
        if self._current.strip("# "):
            self.lines.append((self._started, self._current.rstrip() if self._literal else self._current.strip()))
        if blank and self.lines and self.lines[-1][1]:
            self.lines.append((self.lines[-1][0], ""))
        self._current = ""


def _html_lines(text: str) -> list[tuple[int, str]]:
    parser = _Text()
    parser.feed(text)
    parser.close()
    parser.end_line()
    return parser.lines
