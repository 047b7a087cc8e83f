"""Shares of work that several machines do at once, the same on each of them."""

from __future__ import annotations

import re
from typing import NamedTuple

import xxhash

_NAME = re.compile(r"(?P<base>.+)_(?P<number>[1-9]\d*)_of_(?P<total>[1-9]\d*)")


class Shard(NamedTuple):
    """One of several equal shares of some work.

    Attributes:
        number: Which one, from 1.
        total: How many there are.
    """

    number: int = 1
    total: int = 1

    def holds(self, key: str) -> bool:
        """Whether what is known by a key belongs here; equal keys belong together."""
        return xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass")) % self.total == (
            self.number - 1
        )

    def named(self, base: str) -> str:
        """The name of this share of a node or data set."""
        return f"{base}_{self.number}_of_{self.total}"


WHOLE = Shard()
"""All of it."""


class ShardName(NamedTuple):
    """A name that :meth:`Shard.named` has made, taken apart."""

    base: str
    shard: Shard


def shard_of(name: str) -> ShardName | None:
    """Read the name of a shard; None for what is none."""
    found = _NAME.fullmatch(name)
    return found and ShardName(found["base"], Shard(int(found["number"]), int(found["total"])))
