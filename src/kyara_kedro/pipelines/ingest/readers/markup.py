"""Web pages: the main text with its headings, lists and title."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.pipelines.ingest.readers import prose, streams
from kyara_kedro.pipelines.ingest.readers.rows import Fault, Item, raised

_SKIPPED = frozenset((
    "script", "style", "nav", "footer", "aside", "noscript", "template", "svg", "button",
    "iframe", "select", "textarea", "object", "canvas", "dialog", "menu", "label",
))  # fmt: skip
_MAIN = frozenset(("main", "article"))
_BLOCKS = _MAIN | frozenset((
    "p", "div", "section", "li", "ul", "ol", "dl", "dt", "dd", "table", "tr", "blockquote",
    "figure", "figcaption", "header", "address", "hr", "details", "summary", "center", "body",
    "form",  # ASP.NET's pages stand in one as a whole
))  # fmt: skip
_HEADING = re.compile(r"h[1-6]\Z")
_SPACE = re.compile(r"\s+")
_WRAPPED = re.compile(
    r"(?<=[\u2e80-\u9fff\uff00-\uffef])[ \t\r]*\n\s*(?=[\u2e80-\u9fff\uff00-\uffef])"
)
"""A line break of the source between Chinese characters, which browsers do not show."""
_DECLARATION = re.compile(r"<!--.*?(?:-->|\Z)|<![^>]*>?", re.DOTALL)
_ENDLESS = re.compile(r"<(?![^>]{0,4096}>)")
_BREAK = "\0"
_NOTE = re.compile(r"\s*\[[^\[\]]{1,12}\]\s*")
_GLOSS = frozenset(("rt", "rp"))
_LEAST_MAIN = 0.2
"""Share of a page's text from which on its <main> or <article> is taken to be the page."""


def page(file: SourceFile) -> Iterator[Item]:
    """Read one document from a web page."""
    parser = _Page()
    text = streams.document(file)
    if isinstance(text, Fault):
        yield None, text
        return
    parser.feed(_defused(text))
    parser.close()
    values = prose.titled(file, parser.text(), parser.title or None)
    yield None, {**values, "url": parser.url} if parser.url else values


def _defused(text: str) -> str:
    """A page without what the parser stumbles over or reads again and again.

    That are comments, declarations and tags that do not end.
    """
    return _ENDLESS.sub("&lt;", _DECLARATION.sub("", text))


class _Page(HTMLParser):
    """Collects the paragraphs of a page.

    Attributes:
        url: The address that the page calls its own.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.url = ""
        self._name: list[str] = []
        self._headings: list[str] = []
        self._paragraphs: list[tuple[bool, str]] = []
        self._begun: list[str] = []
        self._prefix = ""
        self._skipping: list[str] = []
        self._main = 0
        self._verbatim = 0
        self._in_title = False
        self._in_gloss = False
        self._raised: int | None = None

    @property
    def title(self) -> str:
        """The only first-rank heading, or the page's name."""
        if len(self._headings) == 1:
            return self._headings[0]
        return _SPACE.sub(" ", "".join(self._name)).strip()

    def text(self) -> str:
        """The paragraphs of the main part, or of the whole page where there is none."""
        self._end_paragraph()
        main = [text for inside, text in self._paragraphs if inside]
        every = [text for _, text in self._paragraphs]
        large = sum(map(len, main)) >= _LEAST_MAIN * sum(map(len, every))
        kept = main if main and large else every
        heading = f"# {self.title}"
        return "\n\n".join(text for text in kept if text != heading)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter an element."""
        if tag == "link" and ("rel", "canonical") in attrs:
            self.url = dict(attrs).get("href") or ""
        if self._skipping:
            self._skipping += [tag] if tag == self._skipping[0] else []
        elif tag in _SKIPPED:
            self._skipping = [tag]
        elif tag == "title":
            self._in_title = True
        elif tag == "br":
            self._begun.append(_BREAK)
        elif tag in _GLOSS:
            self._in_gloss = True
        elif tag == "sup":
            self._raised = len(self._begun)
        elif tag in ("td", "th") and self._begun:
            self._begun.append(" | ")
        elif tag == "pre" or tag in _BLOCKS or _HEADING.match(tag):
            self._end_paragraph()
            self._main += tag in _MAIN
            self._verbatim += tag == "pre"
            heading = "#" * int(tag[1]) + " " if _HEADING.match(tag) else ""
            self._prefix = "- " if tag == "li" else heading

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        if self._skipping:
            if tag == self._skipping[0]:
                self._skipping.pop()
        elif tag == "title":
            self._in_title = False
        elif tag in _GLOSS or tag == "ruby":
            self._in_gloss = False
        elif tag == "sup" and self._raised is not None:
            said = "".join(self._begun[self._raised :])
            self._begun[self._raised :] = [] if _NOTE.fullmatch(said) else [raised(said)]
            self._raised = None
        elif tag == "pre" or tag in _BLOCKS or _HEADING.match(tag):
            self._end_paragraph()
            self._main = max(0, self._main - (tag in _MAIN))
            self._verbatim = max(0, self._verbatim - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        """Take text."""
        if self._in_title:
            self._name.append(data)
        elif not self._skipping and not self._in_gloss:
            self._begun.append(data)

    def _end_paragraph(self) -> None:
        said = "".join(self._begun)
        if self._verbatim:
            said = said.replace(_BREAK, "\n").strip("\n")
            kept = f"```\n{said}\n```" if said.strip() else ""
        else:
            lines = _SPACE.sub(" ", _WRAPPED.sub("", said)).split(_BREAK)
            kept = "\n".join(line.strip() for line in lines).strip()
        if kept:
            self._paragraphs.append((self._main > 0, self._prefix + kept))
            if self._prefix == "# ":
                self._headings.append(kept)
            self._prefix = ""
        self._begun = []
        self._in_gloss, self._raised = False, None
