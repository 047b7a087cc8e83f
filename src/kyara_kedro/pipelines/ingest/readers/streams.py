"""Files as streams of text: decompressed and decoded piece by piece."""

import bz2
import codecs
import gzip
import io
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.pipelines.ingest.readers.rows import Fault

Bytes = io.BufferedReader | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
PIECE = 1 << 17
"""Bytes that are asked for at a time."""
LARGEST_DOCUMENT = 1 << 26
"""Most characters of a file that is one document."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"""<meta\b[^>]{0,200}?\bcharset\s*=\s*["']?\s*([\w-]{1,40})""", re.I)
_SUPERSETS = {"big5": "big5hkscs", "gb2312": "gb18030", "gbk": "gb18030"}
_CHINESE = (("gb2312", "GB18030", "gb18030"), ("big5hkscs", "Big5", "big5hkscs"))


def opened(file: SourceFile) -> Bytes:
    """The file's bytes, decompressed as they are read.

    ``read1`` gives what was decompressed before a damaged place, then the next call raises.
    """
    match file.compression:
        case "gz":
            return gzip.open(source(file))
        case "bz2":
            return bz2.open(source(file))
        case "xz":
            return lzma.open(source(file))
        case "zst":
            import pyarrow

            stream = pyarrow.CompressedInputStream(arrow_source(file), "zstd")
            return io.BufferedReader(stream, PIECE)
    found = source(file)
    return found.open("rb") if isinstance(found, Path) else found


def source(file: SourceFile) -> Path | io.BufferedReader:
    """What readers open: a path, or the stream of an object."""
    if file.remote:
        return io.BufferedReader(file.path.open("rb"), PIECE)
    return file.path


def arrow_source(file: SourceFile) -> Any:
    """The file as Arrow reads it."""
    import pyarrow

    found = source(file)
    return pyarrow.OSFile(str(found)) if isinstance(found, Path) else pyarrow.PythonFile(found)


def pieces(file: SourceFile) -> Iterator[str]:
    """The file's text in pieces of any length.

    A byte order mark decides the encoding, then the catalog entry, then a page's own declaration,
    then UTF-8. Bytes that do not decode become lone surrogates, which `undecoded` finds; in UTF-16
    and UTF-32 they raise.

    Raises:
        UnicodeDecodeError: a broken file in UTF-16 or UTF-32.
        OSError, EOFError, zlib.error, lzma.LZMAError: a damaged archive.
    """
    with opened(file) as stream:
        data = stream.read1(PIECE)
        encoding = _encoding(file, data)
        errors = "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        while data:
            yield decoder.decode(data)
            data = stream.read1(PIECE)
        if rest := decoder.decode(b"", final=True):
            yield rest


def lines(file: SourceFile) -> Iterator[str]:
    """The file's lines without their line feeds; nothing else ends a line."""
    begun: list[str] = []
    for piece in pieces(file):
        first, *more = piece.split("\n")
        begun.append(first)
        if more:
            yield "".join(begun)
            yield from more[:-1]
            begun = [more[-1]]
    if rest := "".join(begun):
        yield rest


def document(file: SourceFile) -> str | Fault:
    """The whole text of a file that is one document."""
    parts, length = [], 0
    for piece in pieces(file):
        parts.append(piece)
        length += len(piece)
        if length > LARGEST_DOCUMENT:
            return Fault(
                "too_large",
                f"a document of more than {LARGEST_DOCUMENT:,} characters; split the file, or "
                "store its documents as rows of JSON lines",
            )
    text = "".join(parts)
    return undecoded(text, file, "unreadable_file") or text


def undecoded(text: str, file: SourceFile, reason: str = "unreadable_row") -> Fault | None:
    """The fault of a text with bytes that did not decode, with the encoding that they suggest."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        if file.encoding:
            return Fault(reason, f"bytes that are not {file.encoding}, the `encoding` of its entry")
        data = text[: error.start + PIECE].encode(errors="surrogateescape")
        return Fault(reason, f"not UTF-8{_likely(data)}")
    return None


def _likely(data: bytes) -> str:
    """What bytes look like; Big5 in GB 2312 would need second bytes that it does not have."""
    for codec, name, setting in _CHINESE:
        try:
            codecs.getincrementaldecoder(codec)().decode(data)
        except UnicodeDecodeError:
            continue
        return (
            f"; it looks like {name}: set `encoding: {setting}` in the catalog entry, or convert "
            f"the file with `iconv -f {name.upper()} -t UTF-8`"
        )
    return "; convert the file to UTF-8, or name its `encoding` in the catalog entry"


def _encoding(file: SourceFile, head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if file.encoding:
        return file.encoding
    if file.kind in ("html", "htm") and (declared := _DECLARED.search(head[:4096])):
        name = declared[1].decode("ascii").lower()
        try:
            codecs.lookup(name)
        except LookupError:
            return "utf-8"
        return _SUPERSETS.get(name, name)
    return "utf-8"
