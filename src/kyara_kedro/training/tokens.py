"""Tokens to learn from, on disk: what training reads instead of texts."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TokensRef:
    """A store of tokens in a directory.

    Attributes:
        path: The directory.
        digest: Hash of the rows' ids, sources, tokens and labels, 32 hexadecimal digits.
        kind: What a row is.
        rows: Rows to learn from; held-out ones are not counted.
        held_out: Rows that are only validated on.
        tokens: Tokens of the rows to learn from.
    """

    path: str
    digest: str
    kind: Literal["conversations", "pairs"]
    rows: int
    held_out: int
    tokens: int
