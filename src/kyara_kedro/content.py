"""The smallest things that everything shares: a message, and the hash of content."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypedDict, TypeVar

import xxhash

T = TypeVar("T")


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


def content_id(*parts: Any) -> str:
    """Hash the normalised content of a record.

    Strings are compared after NFC; containers by their canonical JSON, so the order of a mapping's
    keys does not matter.

    Args:
        parts: The values that make the record what it is; anything that JSON can write.

    Returns:
        32 hexadecimal digits (xxh3-128).
    """
    canonical = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(unicodedata.normalize("NFC", canonical).encode())


def well_formed(text: str) -> str:
    """Join the halves of surrogate pairs, and replace those without a partner by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def all_well_formed(value: Any) -> Any:
    """The same for all texts in what JSON was read from: its escapes may hide such halves."""
    return json.loads(well_formed(json.dumps(value, ensure_ascii=False)))


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Cut an iterable into tuples of a size; the last may be shorter."""
    source = iter(items)
    while some := tuple(islice(source, size)):
        yield some
