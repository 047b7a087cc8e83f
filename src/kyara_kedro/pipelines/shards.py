"""Heavy nodes in shards."""

import re
from typing import NamedTuple

_NAME = re.compile(r"(?P<base>.+)_(?P<number>[1-9]\d*)_of_(?P<total>[1-9]\d*)")


class ShardName(NamedTuple):
    """A node that does a part of what another one does alone.

    Attributes:
        base: The name that all shards have in common.
        number: Which one it is, from 1.
        total: How many there are.
    """

    base: str
    number: int
    total: int


def shard_of(name: str) -> ShardName | None:
    """Read the name of a shard; None for what is none."""
    found = _NAME.fullmatch(name)
    return found and ShardName(found["base"], int(found["number"]), int(found["total"]))
