"""Benchmark questions that training records give away.

A record is searched in two steps. Runs of 4 or 6 tokens that it shares with a question propose a
place: tokens are folded Chinese characters and words, so script, width and case do not matter, and
runs that many questions have in common propose nothing. At those few places it is judged what
stands there, by the rules of :mod:`kyara_kedro.similarity.leaks`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from kyara_kedro.content import content_id
from kyara_kedro.options import Options
from kyara_kedro.records import CONTAMINATION
from kyara_kedro.similarity.benchmark_items import Item, read_items
from kyara_kedro.similarity.leaks import (
    BEGINNING,
    LONG,
    SPECIFIC,
    Leak,
    Record,
    Stem,
    find_leaks,
    make_stem,
)
from kyara_kedro.similarity.shingles import TokenTable, chunks, tokenise, with_total

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_SHORT_RUN, _RUN = 4, 6
"""Tokens of the runs that propose a place, for stems of under 16 tokens and for the others."""
_FEW = 16
_RAREST = 4
"""Runs of a stem that propose places however many stems hold them."""
_SLACK = 8
"""Tokens by which one stretch of a record may be moved against the stem in its course."""
_CHARACTERS_AT_ONCE = 300_000
"""More than are tokenised best: few runs are looked up, and each step on them has a fixed price."""
_FILTER_BITS = 22
_BUCKET_BITS = 21
_BUCKET = np.uint64(64 - _BUCKET_BITS)
_HIGH, _LOW = np.uint64(64 - _FILTER_BITS), np.uint64((1 << _FILTER_BITS) - 1)
_PRIME = 0xC2B2AE3D27D4EB4F
_SQUARE = np.uint64(_PRIME**2 % (1 << 64))


class ContaminationOptions(Options):
    """When a record counts as contaminated by a question.

    Attributes:
        coverage: Smallest share of a long question's counted tokens that gives it away.
        boilerplate_questions: A run of 6 tokens in this many different questions is boilerplate:
            its tokens do not count.
        minimum_tokens: An open question of fewer tokens needs its answer beside it.
    """

    coverage: float = Field(0.5, gt=0, le=1)
    boilerplate_questions: int = Field(5, ge=2)
    minimum_tokens: int = Field(6, ge=1)


_DEFAULT = ContaminationOptions()


class ContaminationIndex:
    """Benchmark questions, ready to be looked for in any number of records.

    Questions of the same tokens, in one benchmark or in several, are looked for once and reported
    each. Never found are questions without letters and digits, and those of under 4 tokens whose
    options have no 6 tokens either.

    Args:
        questions: A table of :data:`kyara_kedro.records.BENCHMARK_QUESTION`; choices and answers
            may be empty.
        options: When a record counts as contaminated.
    """

    def __init__(self, questions: pl.DataFrame, options: ContaminationOptions = _DEFAULT) -> None:
        self.options = options
        groups = _same_tokens(list(read_items(questions)))
        hashes = [np.frombuffer(key, np.uint64) for key in groups]
        lengths = np.array([len(own) for own in hashes], np.int64)
        runs = _runs_of(np.concatenate([np.empty(0, np.uint64), *hashes]), lengths)
        common = (pl.col("size") == _RUN) & (pl.col("spread") >= options.boilerplate_questions)
        self._common = runs.filter(common)
        counted = [np.ones(length, np.bool_) for length in lengths.tolist()]
        for owner, place in self._common.select("owner", "place").iter_rows():
            counted[owner][place : place + _RUN] = False
        shared = _shared_beginnings(list(groups), options.boilerplate_questions)
        self._stems = [
            make_stem(items, own, marks, lead, options.minimum_tokens)
            for items, own, marks, lead in zip(
                groups.values(), hashes, counted, shared, strict=True
            )
        ]
        self._seeds = _Seeds.of(runs, self._stems, options.boilerplate_questions)

    @property
    def boilerplate(self) -> pl.DataFrame:
        """Runs of 6 tokens that do not count.

        Returns:
            Columns text (folded) and questions (how many different ones hold it), commonest first.
        """
        once = self._common.unique("run", keep="first", maintain_order=True)
        places = once.select("owner", "place").iter_rows()
        texts = [
            " ".join(self._stems[owner].words[place : place + _RUN]) for owner, place in places
        ]
        schema = {"text": pl.String, "questions": pl.Int64}
        table = pl.DataFrame({"text": texts, "questions": once["spread"]}, schema=schema)
        return table.sort("questions", "text", descending=[True, False])

    def search(self, texts: pl.DataFrame) -> pl.DataFrame:
        """Find the records of a batch that give questions away.

        Args:
            texts: Columns id and text.

        Returns:
            A table of :data:`kyara_kedro.records.CONTAMINATION` in the order of the records, then
            of benchmark and item: one row for each record and item, with the stretch of the record
            that covers most of the item, of equal ones the first. Where two items of a benchmark
            lie in one stretch, only those that it covers most are given.
        """
        ids, contents = texts["id"].to_list(), texts["text"].to_list()
        rows = [
            _row(record, leak)
            for part in chunks(contents, _CHARACTERS_AT_ONCE)
            for record, leaks in self._search(ids[part], contents[part])
            if leaks
            for leak in _best(leaks)
        ]
        return CONTAMINATION.frame(rows)

    def _search(
        self, ids: Sequence[str], texts: Sequence[str]
    ) -> Iterator[tuple[Record, list[Leak]]]:
        table = tokenise(texts)
        bounds = table.offsets.tolist()
        places: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
        for row, owner, shifts in self._seeds.places(table):
            places[row].append((owner, shifts))
        for row, proposed in places.items():
            hashes = table.hashes[bounds[row] : bounds[row + 1]]
            record = Record(ids[row], texts[row], hashes)
            yield (
                record,
                [
                    leak
                    for owner, shifts in proposed
                    for leak in find_leaks(
                        self._stems[owner], record, shifts, self.options.coverage
                    )
                ],
            )


class _Seeds(NamedTuple):
    """Where the runs of all stems stand.

    Attributes:
        beginnings: Filter of the hashes of their first four tokens.
        whole: Filter of the hashes of the runs.
        keys: Hashes of the runs, ascending, and the highest number.
        buckets: The place among these of the first one with some first 21 bits.
        deepest: Most keys of a bucket.
        starts: For each run the first of its places, and the end of the last.
        owner: For each place, the stem.
        place: The token of the stem, -1 for a run of the stem's options.
        first: For each stem, the first place from which a run is looked for.
        needed: For each stem, how many of its runs a stretch must hold.
        needed_first: The same of a stretch that holds the first of them.
    """

    beginnings: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    keys: Hashes
    buckets: Places
    deepest: int
    starts: Places
    owner: Places
    place: Places
    first: Places
    needed: Places
    needed_first: Places

    @classmethod
    def of(cls, runs: pl.DataFrame, stems: Sequence[Stem], boilerplate: int) -> _Seeds:
        """Choose the runs that propose places: those that few stems hold, or a stem's rarest."""
        lengths = np.array([len(stem.words) for stem in stems], np.int64)
        size = pl.when(pl.col("length") < _FEW).then(_SHORT_RUN).otherwise(_RUN)
        rank = pl.col("spread").rank("ordinal").over("owner")
        chosen = (pl.col("spread") < boilerplate) | (rank <= _RAREST)
        own = runs.filter(pl.col("size") == size).filter(chosen)
        seeds = pl.concat([own, _option_runs(stems)]).unique(["run", "owner", "place"])
        seeds = seeds.sort("run", "owner", "place")
        keys, starts = np.unique(seeds["run"].to_numpy(), return_index=True)
        buckets = np.searchsorted(keys >> _BUCKET, np.arange((1 << _BUCKET_BITS) + 1))
        first = np.zeros(len(stems), np.int64)
        once = own.group_by("owner").agg(pl.col("place").min())
        first[once["owner"].to_numpy()] = once["place"].to_numpy()
        held = np.bincount(own["owner"].to_numpy(), minlength=len(stems))
        return cls(
            _filter(seeds["beginning"].to_numpy()),
            _filter(keys),
            np.append(keys, ~np.uint64(0)),
            buckets,
            int(np.diff(buckets).max()),
            np.append(starts, [len(seeds)] * 2).astype(np.int64),
            seeds["owner"].to_numpy(),
            seeds["place"].to_numpy(),
            first,
            *_needed(held, lengths),
        )

    def places(self, table: TokenTable) -> Iterator[tuple[int, int, list[int]]]:
        """Where texts may hold a stem.

        Returns:
            For each place the text, the stem and the shifts between the tokens of the two, in the
            order of texts and stems.
        """
        runs = _runs(table.hashes)
        at = _passing(self.beginnings, runs[_SHORT_RUN])
        found = [self._shared(table, size, at[at < len(own)], own) for size, own in runs.items()]
        row, owner, place, shift = map(np.concatenate, zip(*found, strict=True))
        order = np.lexsort((shift, owner, row))
        row, owner, place, shift = row[order], owner[order], place[order], shift[order]
        far = (np.diff(row) != 0) | (np.diff(owner) != 0) | (np.diff(shift) > _SLACK)
        starts = np.flatnonzero(np.concatenate([np.ones(min(len(row), 1), np.bool_), far]))
        if not len(starts):
            return
        ends, stem = np.append(starts[1:], len(row)), owner[starts]
        begins = np.minimum.reduceat(place, starts) <= self.first[stem]
        needed = np.where(begins, self.needed_first[stem], self.needed[stem])
        enough = ends - starts >= needed
        for start, end in zip(starts[enough].tolist(), ends[enough].tolist(), strict=True):
            yield int(row[start]), int(owner[start]), sorted(set(shift[start:end].tolist()))

    def _shared(self, table: TokenTable, size: int, at: Places, runs: Hashes) -> tuple[Places, ...]:
        """Text, stem, place in it and shift of each run of a size that texts and stems share."""
        at = at[_passing(self.whole, runs.take(at))]
        sought = runs.take(at)
        key = self.buckets.take(sought >> _BUCKET)
        for _ in range(self.deepest):
            key += self.keys.take(key) < sought
        at, key = _where(self.keys.take(key) == sought, at, key)
        row = np.searchsorted(table.offsets, at, "right") - 1
        at, key, row = _where(at + size <= table.offsets[row + 1], at, key, row)
        counts = self.starts[key + 1] - self.starts[key]
        ends = with_total(counts)
        seed = np.repeat(self.starts[key] - ends[:-1], counts) + np.arange(ends[-1])
        place = self.place[seed]
        shift = np.repeat(at - table.offsets[row], counts) - np.maximum(place, 0)
        return np.repeat(row, counts), self.owner[seed], place, shift


def find_contamination(
    texts: pl.DataFrame | Iterable[pl.DataFrame],
    questions: pl.DataFrame,
    options: ContaminationOptions = _DEFAULT,
) -> pl.DataFrame:
    """Find records that give benchmark questions away.

    Args:
        texts: Columns id and text, in one table or in batches; how they are cut does not matter.
        questions: A table of :data:`kyara_kedro.records.BENCHMARK_QUESTION`.
        options: When a record counts as contaminated.

    Returns:
        A table of :data:`kyara_kedro.records.CONTAMINATION`; see
        :meth:`ContaminationIndex.search`.
    """
    index = ContaminationIndex(questions, options)
    batches = [texts] if isinstance(texts, pl.DataFrame) else texts
    return pl.concat([CONTAMINATION.frame(), *map(index.search, batches)])


def _same_tokens(items: Sequence[Item]) -> dict[bytes, list[Item]]:
    """Items by the hashes of their stem's tokens; without those that have none."""
    groups: dict[bytes, list[Item]] = defaultdict(list)
    table = tokenise([item.stem for item in items])
    for number, item in enumerate(items):
        own = table.hashes[table.offsets[number] : table.offsets[number + 1]]
        if len(own):
            groups[own.tobytes()].append(item)
    return groups


def _shared_beginnings(stems: Sequence[bytes], boilerplate: int) -> list[int]:
    """Tokens of each stem's longest beginning that so many stems have in common."""
    order = sorted(range(len(stems)), key=stems.__getitem__)
    shared = [0] * len(stems)
    for first in range(len(order) - boilerplate + 1):
        some = order[first : first + boilerplate]
        one, other = (np.frombuffer(stems[number], np.uint64) for number in (some[0], some[-1]))
        size = min(len(one), len(other))
        differs = np.append(one[:size] != other[:size], True)
        for number in some:
            shared[number] = max(shared[number], int(differs.argmax()))
    return shared


def _best(leaks: Sequence[Leak]) -> list[Leak]:
    """The best leak of each item, without those that another item of the benchmark explains."""
    chosen: dict[tuple[str, str], Leak] = {}
    for leak in sorted(leaks, key=lambda leak: (*leak.item[:2], -leak.likeness, leak.start)):
        chosen.setdefault((leak.item.benchmark, leak.item.item_id), leak)
    return [
        leak
        for leak in chosen.values()
        if not any(
            other.item.benchmark == leak.item.benchmark
            and other.likeness > leak.likeness
            and other.start <= leak.start
            and leak.end <= other.end
            for other in chosen.values()
        )
    ]


def _row(record: Record, leak: Leak) -> dict[str, Any]:
    return {
        "id": content_id("contamination", record.id, leak.item.benchmark, leak.item.item_id),
        "record_id": record.id,
        "benchmark": leak.item.benchmark,
        "item_id": leak.item.item_id,
        "part": leak.part,
        "coverage": leak.coverage,
        "start": leak.start,
        "end": leak.end,
        "evidence": record.text[leak.start : leak.end],
    }


def _needed(held: Places, lengths: Places) -> tuple[Places, Places]:
    """How many of its runs a stretch that gives a stem away holds at least.

    A stem of under 8 tokens stands as a whole. In longer ones an edit spoils the runs of two
    tokens; of one of 24 tokens or more, a quarter of the runs is left where scattered edits leave
    half of the tokens.

    Returns:
        The number for any stretch, and that for one that holds the first run: the beginning.
    """
    size = np.where(lengths < _FEW, _SHORT_RUN, _RUN)
    edited = np.maximum(held - (size + 1) * np.maximum(lengths // 16, 1), 2)
    whole = np.where(lengths < SPECIFIC, held, np.minimum(held, edited))
    part = np.where(lengths < LONG, whole, np.minimum(whole, held // 4))
    lead = np.maximum(np.ceil(BEGINNING * (held + size - 1)).astype(np.int64), SPECIFIC)
    return np.maximum(part, 1), np.maximum(np.minimum(part, lead - size + 1), 1)


def _option_runs(stems: Sequence[Stem]) -> pl.DataFrame:
    """Runs of the options and answers of stems that are too short to have runs of their own."""
    beside = [
        (owner, text)
        for owner, stem in enumerate(stems)
        if len(stem.words) < _SHORT_RUN
        for sought in stem.sought
        for text in (*sought.item.options, sought.item.answer)
    ]
    table = tokenise([text for _, text in beside])
    owners = np.array([owner for owner, _ in beside], np.int64)
    runs = _runs_of(table.hashes, table.lengths).filter(size=_RUN)
    owner = pl.Series(owners[runs["owner"].to_numpy()], dtype=pl.Int64)
    return runs.with_columns(owner=owner, place=pl.lit(-1, pl.Int64))


def _runs_of(hashes: Hashes, lengths: Places) -> pl.DataFrame:
    """All runs of some token sequences.

    Returns:
        Columns run (its hash), beginning (that of its first four tokens), owner (its sequence),
        place (its first token there), length (of the sequence), size (of the run) and spread (how
        many sequences hold the run).
    """
    bounds = with_total(lengths)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    frames, by_size = [], _runs(hashes)
    fours = by_size[_SHORT_RUN]
    for size, runs in by_size.items():
        of = owner[: len(runs)]
        inside = np.arange(len(runs)) + size <= bounds[of + 1]
        of = of[inside]
        columns = {
            "run": runs[inside],
            "beginning": fours[: len(runs)][inside],
            "owner": of,
            "place": np.flatnonzero(inside) - bounds[of],
            "length": lengths[of],
            "size": np.full(len(of), size),
        }
        frames.append(pl.DataFrame(columns))
    table = pl.concat(frames)
    spread = table.unique(["run", "owner"]).group_by("run").agg(spread=pl.len().cast(pl.Int64))
    return table.join(spread, on="run", maintain_order="left")


def _runs(hashes: Hashes) -> dict[int, Hashes]:
    """Hash every run of 4 and of 6 tokens, also those that reach into the next text."""
    pairs = hashes[:-1] * np.uint64(_PRIME) + hashes[1:]
    fours = pairs[:-2] * _SQUARE + pairs[2:]
    return {_SHORT_RUN: fours, _RUN: fours[:-2] * _SQUARE + pairs[4:]}


def _filter(hashes: Hashes) -> NDArray[np.bool_]:
    """Which first and last 22 bits occur in some hashes (Bloom 1970)."""
    bits = np.zeros(1 << _FILTER_BITS, np.bool_)
    bits[hashes >> _HIGH] = bits[hashes & _LOW] = True
    return bits


def _passing(bits: NDArray[np.bool_], hashes: Hashes) -> Places:
    """Places of the hashes that a filter lets pass: all that it was made of, and a few others."""
    at = np.flatnonzero(bits.take((hashes >> _HIGH).view(np.int64)))
    return at[bits.take((hashes.take(at) & _LOW).view(np.int64))]


def _where(kept: NDArray[np.bool_], *columns: Places) -> tuple[Places, ...]:
    return tuple(column[kept] for column in columns)
