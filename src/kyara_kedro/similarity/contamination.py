"""Benchmark questions that a training record gives away.

The measure is coverage: the share of a question's token 8-grams that a record holds. One shared
8-gram (the public practice) flags whole sources for a phrase that every exam uses; coverage does
not, and n-grams found in many questions are not counted at all. Tokens are Chinese characters and
words, folded, so a Simplified copy of a Traditional question is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from kyara_kedro.content import content_id
from kyara_kedro.options import Options
from kyara_kedro.records import CONTAMINATION
from kyara_kedro.similarity.shingles import Hashes, TokenTable, chunks, token_spans, tokenise
from kyara_kedro.text.fold import tokens

Rows = NDArray[np.int64]

_FILTER_BITS = 24


class ContaminationOptions(Options):
    """When a record counts as contaminated by a question.

    Attributes:
        n: Tokens of an n-gram.
        coverage: Smallest share of a question's counted n-grams in a record.
        minimum_tokens: Shorter questions never flag; questions from here up to n tokens must
            stand in the record as a whole.
        boilerplate_questions: An n-gram that occurs in this many questions is boilerplate and does
            not count.
        minimum_ngrams: A longer question needs this many counted n-grams (or all, when it has
            fewer) in the record.
    """

    n: int = Field(8, ge=2)
    coverage: float = Field(0.5, gt=0, le=1)
    minimum_tokens: int = Field(6, ge=1)
    boilerplate_questions: int = Field(10, ge=2)
    minimum_ngrams: int = Field(3, ge=1)


_DEFAULT = ContaminationOptions()


def find_contamination(
    texts: pl.DataFrame,
    questions: pl.DataFrame,
    options: ContaminationOptions = _DEFAULT,
) -> pl.DataFrame:
    """Find records that contain benchmark questions.

    The question's text is what is looked for; its choices are not, since a record may list the
    same choices for another question.

    Args:
        texts: Columns id and text.
        questions: A table of :data:`kyara_kedro.records.BENCHMARK_QUESTION`.
        options: When a record counts as contaminated.

    Returns:
        A table of :data:`kyara_kedro.records.CONTAMINATION`; the evidence is the longest stretch
        of the record's text that stands in the question.
    """
    wanted = _question_ngrams(questions["question"].to_list(), options)
    ids, contents = texts["id"].to_list(), texts["text"].to_list()
    if wanted.is_empty():
        return CONTAMINATION.frame()
    sizes = sorted(wanted["size"].unique())
    held = pl.concat(
        [
            wanted.select("ngram").clear().with_columns(record=pl.lit(0, pl.Int64)),
            *_held_ngrams(contents, wanted["ngram"].unique().to_numpy(), sizes),
        ]
    )
    flagged = (
        held.join(wanted, on="ngram")
        .group_by("record", "question", "counted", "needed")
        .agg(held=pl.len())
        .with_columns(coverage=pl.col("held") / pl.col("counted"))
        .filter((pl.col("coverage") >= options.coverage) & (pl.col("held") >= pl.col("needed")))
        .sort("record", "question")
    )
    names = questions.select("benchmark", "item_id", "question").rows()
    return CONTAMINATION.frame(
        {
            "id": content_id("contamination", ids[record], *names[question][:2]),
            "record_id": ids[record],
            "benchmark": names[question][0],
            "item_id": names[question][1],
            "coverage": coverage,
            "evidence": longest_match(contents[record], names[question][2], options.n),
        }
        for record, question, coverage in flagged.select(
            "record", "question", "coverage"
        ).iter_rows()
    )


def longest_match(text: str, question: str, n: int) -> str:
    """Longest stretch of a text whose tokens follow one another in the question's n-grams too."""
    sought = tokens(question)
    n = min(n, len(sought))
    grams = {tuple(sought[start : start + n]) for start in range(len(sought) - n + 1)}
    spans = token_spans(text)
    found = [token for token, _, _ in spans]
    best, start = (0, 0), 0
    for place in range(len(found) - n + 1):
        if tuple(found[place : place + n]) not in grams:
            start = place + 1
        elif place + n - start > best[1] - best[0]:
            best = (start, place + n)
    return text[spans[best[0]][1] : spans[best[1] - 1][2]]


def _question_ngrams(questions: Sequence[str], options: ContaminationOptions) -> pl.DataFrame:
    """The counted n-grams of each question that may flag.

    Returns:
        Columns question, ngram, size (tokens of the n-gram), counted (n-grams of the question that
        count) and needed (how many of them a record must hold).
    """
    table = tokenise(questions)
    lengths = table.lengths
    found = []
    for size in range(min(options.minimum_tokens, options.n), options.n + 1):
        whole = size < options.n
        rows = np.flatnonzero(lengths == size if whole else lengths >= size)
        ngrams, owner = _owned(table, size)
        chosen = np.isin(owner, rows)
        found.append(
            pl.DataFrame({"question": owner[chosen], "ngram": ngrams[chosen]}).with_columns(
                size=pl.lit(size)
            )
        )
    return (
        pl.concat(found)
        .unique()
        .with_columns(total=pl.len().over("question"), spread=pl.len().over("ngram"))
        .filter(pl.col("spread") < options.boilerplate_questions)
        .with_columns(
            counted=pl.len().over("question"),
            needed=pl.min_horizontal("total", pl.lit(options.minimum_ngrams)),
        )
        .filter(pl.col("counted") >= pl.col("needed"))
        .select("question", "ngram", "size", "counted", "needed")
        .sort("question", "ngram")
    )


def _held_ngrams(
    texts: Sequence[str], wanted: Hashes, lengths: Sequence[int]
) -> Iterator[pl.DataFrame]:
    """Which wanted n-grams each text holds, once each; columns ngram and record."""
    shift = np.uint64(64 - _FILTER_BITS)
    maybe = np.zeros(1 << _FILTER_BITS, np.bool_)
    maybe[wanted >> shift] = True
    known = pl.DataFrame({"ngram": wanted})
    for part in chunks(texts):
        table = tokenise(texts[part])
        for length in lengths:
            ngrams, owner = _owned(table, length)
            likely = maybe[ngrams >> shift]
            held = pl.DataFrame({"ngram": ngrams[likely], "record": owner[likely] + part.start})
            yield held.join(known, on="ngram", how="semi").unique()


def _owned(table: TokenTable, n: int) -> tuple[Hashes, Rows]:
    ngrams, offsets = table.ngrams(n)
    return ngrams, np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
