"""JSON lines, and JSON files whose rows are decoded one at a time."""

import json
import re
from collections.abc import Iterator
from typing import Any

from kyara_kedro.datasets.sources import SourceFile
from kyara_kedro.pipelines.ingest.readers import streams
from kyara_kedro.pipelines.ingest.readers.rows import Fault, Item

_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_LONGEST_LITERAL = 16
"""Characters that a literal or an escape cut off by the end of the text may have begun with."""


def lines_of_json(file: SourceFile) -> Iterator[Item]:
    """Read a row from every line that is not blank."""
    for number, line in enumerate(streams.lines(file), start=1):
        if line.strip():
            yield number, from_line(line, file)


def from_line(line: str, file: SourceFile) -> Any:
    """The value of one line, or its fault."""
    if fault := streams.undecoded(line, file):
        return fault
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return Fault("malformed_json", str(error))


def values_of_json(file: SourceFile) -> Iterator[Item]:
    """Read the rows of an array, or objects that follow one another, of which there may be one.

    A row that does not parse ends the file: nothing tells where the next one begins.
    """
    window = _Window(streams.pieces(file))
    number = 0
    try:
        array = window.peek() == "["
        window.at += array
        while (following := window.peek()) not in ("", "]"):
            if number and array:
                window.expect(",", following)
            value, told = window.value()
            number += 1
            yield number, streams.undecoded(told, file) or value
        if array:
            window.expect("]", window.peek())
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        fault = streams.undecoded(window.text[window.at :], file, "unreadable_file")
        yield number + 1, fault or Fault("malformed_json", window.told(error))


class _Window:
    """The part of a text that is being decoded.

    Attributes:
        text: What is held of it; it grows by doubling while a value is incomplete, so that a value
            is scanned a logarithmic number of times.
        at: Where the next value begins.
    """

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self.text = ""
        self.at = 0

    def more(self) -> bool:
        """Read on; whether there was more."""
        parts = [self.text[self.at :]]
        wanted = len(parts[0])
        for piece in self._pieces:
            parts.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
        self.text, self.at = "".join(parts), 0
        return len(parts) > 1

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            self.at = _BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def expect(self, character: str, found: str) -> None:
        """Step over a character."""
        if found != character:
            raise json.JSONDecodeError(f"Expecting '{character}'", self.text, self.at)
        self.at += 1
        self.peek()

    def value(self) -> tuple[Any, str]:
        """Decode the next value; with the text that it was."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.pos > len(self.text) - _LONGEST_LITERAL
                if not (cut or error.msg.startswith("Unterminated")) or not self.more():
                    raise
                continue
            if end == len(self.text) and isinstance(value, int | float) and self.more():
                continue  # a number may go on
            told, self.at = self.text[self.at : end], end
            return value, told

    def told(self, error: Exception) -> str:
        """An error in words, with the text where it stands."""
        if isinstance(error, json.JSONDecodeError):
            return f"{error.msg}, found {self.text[error.pos : error.pos + 20]!r}"
        return str(error)
