"""Files as packages ship them, to plain text: one reader for each format, each a function from a file to documents.

The readers keep prose and code, and drop what only a renderer can use: labels, index entries, tables, navigation.
Paragraphs of prose come out on one line each; blank lines part them.
"""

import gzip
import re
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType

_WORDNET_ENTRIES = 16
"""Entries of WordNet in one document: alone each would be a line."""


def read_python(path: Path) -> Iterator[str]:
    """Source code as it is; a file over 150 kB is a table or generated, and is left out."""
    if path.stat().st_size < 150_000:
        yield path.read_text(encoding="utf-8", errors="replace")


_RST_DROPPED = re.compile(
    r"\.\. (index|toctree|(module|section|code)author|raw|image|figure|only|tabularcolumns|highlight|testsetup|"
    r"testcleanup|currentmodule|contents|include|literalinclude|version(added|changed)|deprecated(-removed)?|"
    r"csv-table|list-table|audit-event|_[^:]*|\|[^|]+\| replace|\[[^\]]+\])(:|\b)"
)
_RST_DIRECTIVE = re.compile(r"(\s*)\.\. ([\w:-]+)::\s*(.*)")
_RST_RULE = re.compile(r"\s*([=\-~^\"'`#*+.:_])\1{2,}\s*")
_RST_TABLE = re.compile(r"\s*([+|].*[+|]|=+( +=+)+|-+( +-+)+)\s*")
_RST_ROLE = re.compile(r":[\w:.+-]+:`[~!]?([^`<]*?)(\s*<[^`]*>)?`")
_RST_LINK = re.compile(r"`([^`<]+?)(\s*<[^`]*>)?`__?")


def read_rst(path: Path) -> Iterator[str]:
    """A page of reStructuredText: signatures, prose and code blocks without markup."""
    lines: list[str] = []
    dropped_indent: int | None = None
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        indent = len(line) - len(line.lstrip())
        if dropped_indent is not None and (not line.strip() or indent > dropped_indent):
            continue
        dropped_indent = None
        text = line.strip()
        directive = _RST_DIRECTIVE.fullmatch(line)
        if _RST_DROPPED.match(text) or (text.startswith(".. ") and not directive) or text == "..":
            dropped_indent = indent
        elif directive:
            signature = directive[3] if directive[2] not in ("code-block", "doctest", "productionlist") else ""
            lines.append(directive[1] + signature)
        elif not (_RST_RULE.fullmatch(line) or _RST_TABLE.fullmatch(line) or re.fullmatch(r":[\w-]+:( .*)?", text)):
            lines.append(line)
    paragraphs = re.split(r"\n[ \t]*\n", "\n".join(lines))
    yield _reflow("\n\n".join(part if ">>>" in part else _rst_inline(part) for part in paragraphs))


def _rst_inline(text: str) -> str:
    text = _RST_LINK.sub(r"\1", _RST_ROLE.sub(r"\1", text)).replace("``", "`")
    text = re.sub(r"(?<![\w*])(\*{1,2})([^\s*](?:[^*]*[^\s*])?)\1(?![\w*])", r"\2", text)
    return re.sub(r"::$", ":", text).replace("\\ ", "")


def read_wordnet(path: Path) -> Iterator[str]:
    """Synsets as `word, synonym: definition. "Example."`, a few in each document."""
    entries: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(" ") or " | " not in line:  # the licence
            continue
        facts, gloss = line.split(" | ", 1)
        fields = facts.split()
        words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
        examples = re.findall(r'"([^"]+)"', gloss)
        definition = re.sub(r'[;,]?\s*"[^"]*"?', "", gloss).strip(" ;")
        spoken = "".join(f' "{example[0].upper()}{example[1:].rstrip(".;, ")}."' for example in examples)
        entries.append(f"{', '.join(words)}: {definition}.{spoken}")
    for start in range(0, len(entries), _WORDNET_ENTRIES):
        yield "\n".join(entries[start : start + _WORDNET_ENTRIES])


_DICTD_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_DICTD_DROPPED = re.compile(r"\[\{?[^\]]*\]\.?|\(?\d{4}-\d{2}-\d{2}\)?|\(https?:[^)]*\)|/\S[^/\n]*/,?")


def read_dictd(path: Path) -> Iterator[str]:
    """Entries of a dictionary of the DICT project, as `headword: text`; the index beside it says where each lies."""
    data = gzip.decompress(path.read_bytes())  # .dz is gzip with an index of its own
    index = path.with_name(path.name.replace(".dict.dz", ".index")).read_text(encoding="utf-8", errors="replace")
    places: dict[tuple[int, int], str] = {}
    for line in index.splitlines():
        word, offset, length = line.split("\t")[:3]
        if not word.startswith("00-"):
            places.setdefault((_dictd_number(offset), _dictd_number(length)), word)
    for start, size in sorted(places):
        entry = data[start : start + size].decode("utf-8", "replace")
        head, _, body = entry.strip().partition("\n\n")  # before the blank line: the word, its aliases and kind
        body = re.sub(r"^\s*(<[^>]+>\s*)?", "", _DICTD_DROPPED.sub("", body))
        paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", re.sub(r"[{}]", "", body))]
        if text := "\n\n".join(part for part in paragraphs if _is_prose(part)):
            yield f"{head.splitlines()[0].strip()}: {text}"


def _dictd_number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DICTD_DIGITS.index(digit)
    return value


class _HtmlText(HTMLParser):
    """Collects the text of blocks; what stands in `_SKIPPED` elements or in blocks of navigation is left out."""

    _BLOCKS = frozenset({"p", "li", "dt", "dd", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "div", "title"})
    _SKIPPED = frozenset({"script", "style", "head", "table", "nav", "footer"})
    _NAVIGATION = ("banner", "toc", "nav", "docnav", "index", "legalnotice", "footnotes", "list-of")

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[str] = []
        self._text = ""
        self._skipped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        role = dict(attrs).get("class") or dict(attrs).get("id") or ""
        if self._skipped:
            if tag == self._skipped[0]:
                self._skipped.append(tag)
        elif tag in self._SKIPPED or (tag in ("div", "ul", "p") and role.startswith(self._NAVIGATION)):
            self._end_block(False)
            self._skipped.append(tag)
        elif tag in self._BLOCKS:
            self._end_block(False)
        elif tag == "br":
            self._text += "\n"

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            if tag == self._skipped[0]:
                self._skipped.pop()
        elif tag in self._BLOCKS:
            self._end_block(tag == "pre")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self._text += data

    def _end_block(self, verbatim: bool) -> None:
        text = self._text.strip("\n") if verbatim else " ".join(self._text.split())
        if text.strip():
            self.blocks.append(text)
        self._text = ""


def read_html(path: Path) -> Iterator[str]:
    """The headings, paragraphs, lists and preformatted blocks of a page."""
    parser = _HtmlText()
    parser.feed(path.read_text(encoding="utf-8", errors="replace"))
    parser.close()
    yield "\n\n".join(parser.blocks)


def read_pod(path: Path) -> Iterator[str]:
    """Perl's documentation: each section under a heading of the second level is a document."""
    text = path.read_text(encoding="utf-8", errors="replace")
    for section in re.split(r"(?m)^=head[12] ", text)[1:]:
        section = re.sub(r"(?ms)^=(begin|for)\b.*?(?:^=end.*?\n|\n\n)", "", section)
        section = re.sub(
            r"(?m)^=(?:head\d|item) +(?:\* *)?", "", re.sub(r"(?m)^=(?:over|back|cut|item *$).*$", "", section)
        )
        section = re.sub(r"(?m)^=\w+.*$", "", section)
        for _ in range(3):  # codes nest
            section = re.sub(r"L<(?:([^|<>]*)\|)?([^<>]*)>", lambda link: link[1] or link[2], section)
            section = re.sub(r"[BCIFSXZE]<(?:<+ )?([^<>]*?)(?: >+)?>", r"\1", section)
        yield _reflow(section)


_ROFF_ESCAPES = (
    (r"\\f(\[\w*\]|\(..|.)", ""), (r"\\s[+-]?\d", ""), (r"\\\((co|rg|bu|em|en)", "-"), (r"\\\((aq|oq|cq)", "'"),
    (r"\\\((lq|rq|dq)", '"'), (r"\\\*\(?\[?\w+\]?", ""), (r"\\-", "-"), (r"\\[&|^/,%:c]", ""), (r"\\e", r"\\"),
    (r"\\ ", " "), (r"\\\[\w+\]", ""), (r"\\\(\w\w", ""),
)  # fmt: skip


def read_man(path: Path) -> Iterator[str]:
    """The prose of a manual page in man(7) macros; pages in mdoc(7) and references are left out."""
    raw = path.read_bytes()
    source = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8", "replace")
    if not re.search(r"(?m)^\.TH ", source):
        return
    lines: list[str] = []
    for line in source.splitlines():
        macro, _, rest = line.partition(" ")
        if macro in (".SH", ".SS"):
            lines += ["", rest.strip('" ').capitalize(), ""]
        elif macro in (".PP", ".P", ".LP", ".TP", ".IP", ".sp", ".br", ".HP"):
            lines.append("")
        elif macro in (".B", ".I"):
            lines.append(rest.replace('"', ""))
        elif re.fullmatch(r"\.(BR|RB|BI|IB|IR|RI)", macro):
            words = re.findall(r'"([^"]*)"|(\S+)', rest)
            lines.append("".join(quoted or bare for quoted, bare in words))
        elif not line.startswith((".", "'")):
            lines.append(line.strip())
    text = "\n".join(lines)
    for pattern, replacement in _ROFF_ESCAPES:
        text = re.sub(pattern, replacement, text)
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    yield "\n\n".join(part for part in paragraphs if part)


def _reflow(text: str) -> str:
    """Join the lines of each paragraph that is not indented; indented ones are code and stay."""
    paragraphs = []
    for part in re.split(r"\n\s*\n", text):
        is_code = all(line.startswith((" ", "\t")) for line in part.splitlines() if line)
        paragraphs.append(part.rstrip() if is_code else " ".join(part.split()))
    return "\n\n".join(part for part in paragraphs if part.strip())


def _is_prose(paragraph: str) -> bool:
    letters = sum(char.isalpha() or char == " " for char in paragraph)
    return letters > 0.75 * len(paragraph) and " " in paragraph and "@" not in paragraph


READERS: Mapping[str, Callable[[Path], Iterator[str]]] = MappingProxyType(
    {
        "python": read_python,
        "rst": read_rst,
        "wordnet": read_wordnet,
        "dictd": read_dictd,
        "html": read_html,
        "pod": read_pod,
        "man": read_man,
    }
)
"""Format to its reader: a file to plain-text documents."""
