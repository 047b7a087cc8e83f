"""Wikipedia: XML dumps, and the output of WikiExtractor."""

import html
import re
from collections.abc import Iterator
from urllib.parse import quote
from xml.etree.ElementTree import Element, XMLPullParser

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.pipelines.ingest.readers import objects, streams
from kyara_kedro.pipelines.ingest.readers.rows import Fault, Item, Values
from kyara_kedro.pipelines.ingest.readers.wikitext import plain_text

WIKIPEDIA_LICENCE = "CC-BY-SA-4.0"
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


def dump(file: SourceFile) -> Iterator[Item]:
    """Read the articles of a ``pages-articles`` dump, numbered as they come.

    Pages of other namespaces than that of articles (talk, files, templates, ...) are no rows;
    redirects are faults. The newest revision of a page counts.

    Raises:
        ParseError: the XML is cut off or malformed.
    """
    number, base = 0, ""
    elements = _elements(file)
    root = next(elements, None)
    if root is not None and not root.tag.endswith("mediawiki"):
        yield None, Fault("not_a_dump", f"the XML is <{root.tag:.40}>, not a <mediawiki> dump")
        return
    for element in elements:
        name = element.tag.rpartition("}")[2]
        if name == "base":
            base = element.text or ""
        elif name == "page":
            if _child(element, "ns") == "0":
                number += 1
                yield number, _article(element, base, file.licence)
            if root is not None:
                root.clear()


def _elements(file: SourceFile) -> Iterator[Element]:
    """The root of an XML file as it begins, then every element as it ends."""
    parser: XMLPullParser[Element] = XMLPullParser(("start", "end"))
    begun = False
    with streams.opened(file) as stream:
        while data := stream.read1(streams.PIECE):
            parser.feed(data)
            for event, element in parser.read_events():  # type: ignore[misc]
                if event == "end" or not begun:
                    begun = True
                    yield element  # type: ignore[misc]
    parser.close()


def _article(page: Element, base: str, noted: str | None) -> Values | Fault:
    title = _child(page, "title")
    target = page.find("{*}redirect")
    if target is not None:
        return Fault("redirect", f"'{title}' redirects to '{target.get('title')}'")
    revision = page.findall("{*}revision")[-1:]
    model = _child(revision[0], "model") if revision else ""
    if model not in ("", "wikitext"):
        return Fault("not_wikitext", f"'{title}' is {model}")
    values: Values = {
        "title": title,
        "text": plain_text(_child(revision[0], "text")) if revision else "",
        "url": f"{base.rpartition('/')[0]}/{quote(title.replace(' ', '_'))}" if base else None,
    }
    if ".wikipedia.org/" in base and not noted:
        values["licence"] = WIKIPEDIA_LICENCE
    return values


def _child(element: Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


def extracted(file: SourceFile) -> Iterator[Item]:
    """Read WikiExtractor's output: ``<doc>`` elements, or lines of JSON."""
    begun: tuple[int, str, list[str]] | None = None
    for number, line in enumerate(streams.lines(file), start=1):
        if line.startswith("<doc "):
            if begun:
                yield begun[0], _unended(begun[1])
            begun = number, line, []
        elif begun and line.rstrip() == "</doc>":
            yield begun[0], _extracted_document(begun[1], begun[2], file)
            begun = None
        elif begun:
            begun[2].append(line)
        elif line.startswith("{"):
            yield number, objects.from_line(line, file)
        elif line.strip():
            yield number, Fault("not_wikiextractor", "neither <doc> nor a JSON object begins here")
            return
    if begun:
        yield begun[0], _unended(begun[1])


def _unended(opening: str) -> Fault:
    return Fault("malformed_document", f"no </doc> follows {opening[:80]}")


def _extracted_document(opening: str, lines: list[str], file: SourceFile) -> Values | Fault:
    if fault := streams.undecoded(opening + "".join(lines), file):
        return fault
    stated = {key: html.unescape(value) for key, value in _ATTRIBUTE.findall(opening)}
    title = stated.get("title", "")
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    if lines[first : first + 1] == [title]:
        lines = lines[first + 1 :]
    return {"title": title, "text": "\n".join(lines).strip(), "url": stated.get("url")}
