"""Which rows of a conversation or preference table a stage learns from, as tokens on disk.

The tables may be larger than memory: of each row its id, source and family are held, its text only
while it is tokenised.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm import tqdm

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.mixing import mix
from kyara_kedro.training.chat import (
    check_messages,
    check_pair,
    encode_batch,
    encode_pair_batch,
    missing_token,
    pair_length,
)
from kyara_kedro.training.loading import load_tokenizer
from kyara_kedro.training.model_ref import ModelRef, verify
from kyara_kedro.training.tokens import ConversationsWriter, PairsWriter, TokensRef, write_tokens

Marks = NDArray[np.bool_]
Numbers = NDArray[np.int64]

_TEXTS = 256
"""Rows whose texts are held at once."""
_NAMES = 1 << 16
"""Rows that are read at once when no text is."""


class NothingToLearn(UserError):
    """No row of a table can be learned from; the message counts the reasons."""


@dataclass(frozen=True)
class Choice:
    """What a stage takes of a table.

    Families of rows that share their first parent (rephrasings of one question) are taken or left
    as a whole, in the order of a hash of it, so neither the order of the table nor its sources
    show.

    Attributes:
        max_length: Longest row in tokens.
        shares: The share in (0, 1] of each source's families; a source that is not named is left
            out, None takes everything. A larger share takes what a smaller one takes, and more.
        max_rows: Most rows to take; a family that no longer fits is passed over.
        held_out: The share of the families that is only validated on: the same ones in every
            stage, so that none learns what another validates on. Nothing is held out when nothing
            else would be left.
        rated_only: Leave out pairs whose win probabilities are not known, as SPPO must.
    """

    max_length: int
    shares: Mapping[str, float] | None = None
    max_rows: int | None = None
    held_out: float = 0.0
    rated_only: bool = False


class Selection(NamedTuple):
    """What became of the rows of a table.

    Attributes:
        tokens: The rows to learn from and those held out, in the order of family and id.
        learned: Whether each row of the table is learned from, [rows].
        drops: Columns record_id, reason and detail, of each row that is not in ``tokens``.
    """

    tokens: TokensRef
    learned: Marks
    drops: pl.DataFrame

    def rows(self, table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        """The rows of the table that are learned from, in its order."""
        for first, frame in _frames(table, _TEXTS):
            yield frame.filter(self.learned[first : first + frame.height])


@dataclass(frozen=True)
class _Kind:
    """How the rows of a table become tokens: what is read of them, checked, counted and written."""

    texts: tuple[str, ...]
    values: tuple[str, ...]
    rows: Callable[[pl.DataFrame], list[Any]]
    check: Callable[[Any], str | None]
    characters: Callable[[Any], int]
    encode: Callable[[Any, Sequence[Any]], Sequence[Any]]
    length: Callable[[Any], int]
    writer: type[ConversationsWriter | PairsWriter]


_CONVERSATIONS = _Kind(
    texts=("messages",),
    values=(),
    rows=lambda frame: frame["messages"].to_list(),
    check=lambda messages: check_messages(messages or ()),
    characters=lambda messages: sum(len(turn["content"].strip()) for turn in messages),
    encode=encode_batch,
    length=lambda encoded: len(encoded.input_ids),
    writer=ConversationsWriter,
)
_PAIRS = _Kind(
    texts=("prompt", "prefix", "chosen", "rejected"),
    values=("p_chosen", "p_rejected"),
    rows=lambda frame: frame.rows(named=True),
    check=check_pair,
    characters=lambda pair: max(len(pair[side].strip()) for side in ("chosen", "rejected")),
    encode=encode_pair_batch,
    length=pair_length,
    writer=PairsWriter,
)


def select_conversations(
    table: pl.LazyFrame, start: ModelRef, choice: Choice, directory: Path
) -> Selection:
    """Choose conversations and write their tokens.

    Args:
        table: A table of ``records.CONVERSATION``.
        start: The model to be trained, whose tokenizer is used.
        choice: What is taken.
        directory: Where the tokens go; replaced as a whole.

    Raises:
        NothingToLearn: no row is left.
        TokensError: the tokens cannot be written.
        UserError: there is no such model, or it does not know the chat format's tokens.
    """
    return _select(table, start, choice, directory, _CONVERSATIONS)


def select_pairs(
    table: pl.LazyFrame, start: ModelRef, choice: Choice, directory: Path
) -> Selection:
    """Choose pairs of ``records.PREFERENCE`` likewise, see :func:`select_conversations`."""
    return _select(table, start, choice, directory, _PAIRS)


def _select(
    table: pl.LazyFrame, start: ModelRef, choice: Choice, directory: Path, kind: _Kind
) -> Selection:
    found = _Found(_index(table, kind.values))
    if choice.shares is not None:
        _share_out(found, choice.shares)
    if choice.rated_only:
        unrated = found.index.select(pl.any_horizontal(pl.col(kind.values).is_null())).to_series()
        found.drop(unrated.to_numpy() & found.left, "no_win_probability")
    with write_tokens(directory, kind.writer) as writer:
        tokeniser = _Tokeniser(start, choice.max_length, kind, writer)
        taken = _take(found, choice.max_rows, partial(tokeniser.run, table, found))
        if not len(taken):
            raise NothingToLearn(f"no row is left to learn from ({found.reasons_told()})")
        held_out = _held_out(found.families[taken], choice.held_out)
        described = found.index.select("id", "source", *kind.values)[taken].with_columns(
            number=pl.Series(found.numbers[taken]), held_out=pl.Series(held_out)
        )
        tokens = writer.finish(described)
    return Selection(tokens, _marks(len(found.numbers), taken[~held_out]), found.drops())


class _Found:
    """What is known of each row of a table.

    Attributes:
        index: The rows' ids, sources and values.
        families: Hash of each row's first parent.
        left: Whether nothing is said against the row.
        numbers: Number of the row among those written, -1 for none.
    """

    def __init__(self, index: pl.DataFrame) -> None:
        self.index = index.drop("family")
        self.families = index["family"].to_numpy()
        self.numbers = np.full(index.height, -1)
        self._reasons = np.full(index.height, None, object)
        self._details = np.full(index.height, "", object)
        self.left = np.ones(index.height, np.bool_)

    def drop(self, which: Marks | Numbers | int, reason: str, detail: Any = "") -> None:
        """Say why rows are left out."""
        self.left[which] = False
        self._reasons[which] = reason
        self._details[which] = detail

    def drops(self) -> pl.DataFrame:
        """The rows left out, columns record_id, reason and detail."""
        out = ~self.left
        return pl.DataFrame(
            {
                "record_id": self.index["id"].filter(out),
                "reason": pl.Series(self._reasons[out], dtype=pl.String),
                "detail": pl.Series(self._details[out], dtype=pl.String),
            }
        )

    def reasons_told(self) -> str:
        """The reasons and how often they apply, in one line."""
        counts = self.drops().group_by("reason").len().sort("reason").iter_rows()
        return ", ".join(f"{reason} {count:,}" for reason, count in counts) or "none came in"


def _index(table: pl.LazyFrame, values: Sequence[str]) -> pl.DataFrame:
    """Id, source, hash of the first parent and values of each row."""
    first_parent = pl.col("parents").list.first().alias("family")
    frames = _frames(table.select("id", "source", *values, first_parent), _NAMES)
    return pl.concat(
        frame.with_columns(
            pl.Series(
                "family",
                [int(content_id(parent)[:16], 16) for parent in frame["family"].to_list()],
                pl.UInt64,
            )
        )
        for _, frame in frames
    )


def _frames(table: pl.LazyFrame, rows: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """The table in frames of some rows, each with the number of its first row; at least one."""
    first = 0
    for frame in table.collect_batches(chunk_size=rows, maintain_order=True):
        yield first, frame
        first += frame.height
    if not first:
        yield 0, pl.DataFrame(schema=table.collect_schema())


def _share_out(found: _Found, shares: Mapping[str, float]) -> None:
    """Leave out the families whose hash lies beyond their source's share."""
    sources = found.index["source"]
    unnamed = ~sources.is_in(list(shares))
    found.drop(unnamed.to_numpy(), "source_not_in_mix", sources.filter(unnamed).to_list())
    positions = found.families / 2.0**64
    for source, share in shares.items():
        beyond = (sources == source).to_numpy() & (positions >= share)
        found.drop(beyond, "beyond_share", f"{source}: {share:g}")


def _take(found: _Found, max_rows: int | None, tokenise: Callable[[Marks], None]) -> Numbers:
    """Take families, in the order of their hashes, as long as they fit.

    As many are tokenised as fit if no row falls out; then twice as many as are missing, and so on.

    Returns:
        The rows taken, in the order of family and id.
    """
    names = found.index.select("id", family=pl.Series(found.families))
    order = names.select(pl.arg_sort_by("family", "id")).to_series().to_numpy()
    rows: Numbers = order[found.left[order]]
    family, sizes = _runs(found.families[rows])
    kept = np.zeros(len(sizes), np.bool_)
    room = len(rows) if max_rows is None else max_rows
    first = 0
    for doublings in count():
        if not room or first == len(sizes):
            break
        fitting = np.where(sizes[first:] <= room, sizes[first:], 0).cumsum()
        end = min(first + int(fitting.searchsorted(room << doublings)) + 1, len(sizes))
        asked = np.flatnonzero(sizes[first:end] <= room) + first
        tokenise(_marks(len(found.numbers), rows[np.isin(family, asked)]))
        good = np.bincount(family[found.numbers[rows] >= 0], minlength=len(sizes))
        for one, size in zip(asked.tolist(), good[asked].tolist(), strict=True):
            if size <= room:
                kept[one] = True
                room -= size
        first = end
    found.drop(rows[~kept[family] & found.left[rows]], "over_max_rows", f"max_rows is {max_rows}")
    return rows[kept[family] & found.left[rows]]


def _runs(values: NDArray[np.uint64]) -> tuple[Numbers, Numbers]:
    """Number of the run of equal values that each one is in, and the lengths of the runs."""
    changes = np.zeros(len(values), np.int64)
    changes[1:] = values[1:] != values[:-1]
    runs = changes.cumsum()
    return runs, np.bincount(runs)


def _marks(length: int, places: Numbers) -> Marks:
    marks = np.zeros(length, np.bool_)
    marks[places] = True
    return marks


def _held_out(families: NDArray[np.uint64], share: float) -> Marks:
    """Draw families by a hash of their own, unless it draws all."""
    drawn = mix(families) / 2.0**64 < share
    return drawn if not drawn.all() else np.zeros_like(drawn)


class _Tokeniser:
    """Tokenises rows of a table and says why others cannot be trained on."""

    def __init__(
        self,
        start: ModelRef,
        max_length: int,
        kind: _Kind,
        writer: ConversationsWriter | PairsWriter,
    ) -> None:
        verify(start)
        self._tokenizer = load_tokenizer(start)
        if token := missing_token(self._tokenizer):
            raise UserError(
                f"{start.path}: the tokenizer does not know {token}; start from a model with "
                "Gemma's tokens"
            )
        self._longest = max(map(len, self._tokenizer.get_vocab()))
        self._max_length = max_length
        self._kind = kind
        self._writer = writer

    def run(self, table: pl.LazyFrame, found: _Found, wanted: Marks) -> None:
        """Write the tokens of the rows that are wanted."""
        with tqdm(total=int(wanted.sum()), desc="tokens", disable=None, leave=False) as bar:
            for first, frame in _frames(table.select(self._kind.texts), _TEXTS):
                some = wanted[first : first + frame.height]
                numbers = (first + np.flatnonzero(some)).tolist()
                if numbers:
                    self._write(numbers, self._kind.rows(frame.filter(some)), found)
                    bar.update(len(numbers))

    def _write(self, numbers: list[int], rows: list[Any], found: _Found) -> None:
        good = []
        for number, row in zip(numbers, rows, strict=True):
            if reason := self._kind.check(row):
                found.drop(number, reason)
            elif (least := self._kind.characters(row) // self._longest) > self._max_length:
                found.drop(number, "over_max_length", self._told(f"at least {least}"))
            else:
                good.append((number, row))
        encoded = self._kind.encode(self._tokenizer, [row for _, row in good])
        for (number, _), tokens in zip(good, encoded, strict=True):
            if (length := self._kind.length(tokens)) > self._max_length:
                found.drop(number, "over_max_length", self._told(length))
            else:
                found.numbers[number] = self._writer.add(tokens)

    def _told(self, tokens: int | str) -> str:
        return f"{tokens} tokens, max_length is {self._max_length}"
