"""Plain text and Markdown: one file, one document."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.pipelines.ingest.readers import streams, wikipedia
from kyara_kedro.pipelines.ingest.readers.rows import Fault, Item

_TITLE_CHARS = 100
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*$\n?", re.MULTILINE | re.DOTALL)


def plain(file: SourceFile) -> Iterator[Item]:
    """Read one document, or WikiExtractor's documents if it begins with ``<doc``.

    The first line is the title; one too long for a title belongs to the text.
    """
    if next(streams.pieces(file), "").lstrip().startswith("<doc "):
        yield from wikipedia.extracted(file)
        return
    text = streams.document(file)
    yield None, text if isinstance(text, Fault) else titled(file, text)


def markdown(file: SourceFile) -> Iterator[Item]:
    """Read one document; title, url and licence may stand in YAML front matter."""
    text = streams.document(file)
    if isinstance(text, Fault):
        yield None, text
        return
    stated, text = _front_matter(text)
    yield None, {**titled(file, text, stated.get("title")), **stated}


def titled(file: SourceFile, text: str, title: str | None = None) -> dict[str, Any]:
    """A document with its title: the one given, its first line, or the file's name."""
    text = text.strip()
    if title:
        return {"title": title, "text": text}
    first, _, rest = text.partition("\n")
    title = first.lstrip("# ").strip()
    if not rest.strip() or len(title) > _TITLE_CHARS:
        return {"title": PurePosixPath(file.name).name.partition(".")[0], "text": text}
    return {"title": title, "text": rest.strip()}


def _front_matter(text: str) -> tuple[dict[str, str], str]:
    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text
    try:
        stated = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}, text
    if not isinstance(stated, dict):
        return {}, text
    wanted = ("title", "url", "licence", "license")
    told = {key: stated[key] for key in wanted if isinstance(stated.get(key), str)}
    return told, text[found.end() :]
