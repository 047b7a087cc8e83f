"""Judgements and battles of Arena-Hard v0.1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.arena_hard import GAMES, ArenaHard
from kyara_kedro.evaluation.benchmarks.base import field_of, item_row
from kyara_kedro.evaluation.benchmarks.compared import Game
from kyara_kedro.evaluation.importing.base import Imported, judgement_row, reading, rows_of
from kyara_kedro.records import BENCHMARK_ITEM, JUDGEMENT
from kyara_kedro.text.pairwise import LABELS, parse_label

_GAMES_OF: Mapping[int, tuple[int, ...]] = {1: (1,), 2: (1, 1), 3: (3,), 4: (3, 1), 6: (3, 3)}
"""How many battles each game gave, by how many of one winner follow each other in a question."""
_VALUES = {"model_a": 0.0, "tie": 0.5, "model_b": 1.0}


def read_arena_hard(path: Path, benchmark: str) -> Imported:
    """Read a ``model_judgment`` file (``games`` of a ``question_id``), or a file of battles.

    Battles hold scores alone, a strong verdict three times; they become items.

    Raises:
        UserError: naming the file, the row and what is wrong with it.
    """
    rows = rows_of(path)
    if rows and "winner" in rows[0]:
        return Imported(items=BENCHMARK_ITEM.frame(_battles(rows, path, benchmark)))
    return Imported(
        judgements=JUDGEMENT.frame(
            judgement
            for number, row in enumerate(rows, start=1)
            for judgement in _judgements(row, path, number, benchmark)
        )
    )


def _judgements(
    row: Mapping[str, Any], path: Path, number: int, benchmark: str
) -> Iterator[dict[str, Any]]:
    with reading(path, number):
        for game, said in zip(GAMES, field_of(row, str(path), number, "games"), strict=False):
            yield _judgement(row, game, said or {}, benchmark, str(path), number)


def _judgement(
    row: Mapping[str, Any],
    game: Game,
    found: Mapping[str, Any],
    benchmark: str,
    path: str,
    number: int,
) -> dict[str, Any]:
    text = found.get("judgment") or ""
    text = text if isinstance(text, str) else str(text.get("answer") or "")
    read_again = parse_label(text)
    label = found.get("score", read_again)
    meaning = LABELS.get(str(label))
    value = None
    if meaning is not None:
        value = meaning.second if game.swapped else 1 - meaning.second
    return judgement_row(
        benchmark,
        str(field_of(row, path, number, "question_id", "uid")) + game.suffix,
        str(field_of(row, path, number, "model")),
        str(field_of(row, path, number, "judge")),
        opponent=str(row.get("baseline") or ArenaHard.baseline),
        swapped=game.swapped,
        verdict=label if meaning else None,
        value=value,
        problem=None if meaning else "no_verdict" if read_again in LABELS else read_again,
        text=text,
    )


def _battles(rows: list[dict[str, Any]], path: Path, benchmark: str) -> Iterator[dict[str, Any]]:
    names = ("model_b", "question_id", "model_a", "winner")
    battles = [
        tuple(str(field_of(row, str(path), number, name)) for name in names)
        for number, row in enumerate(rows, start=1)
    ]
    questions: dict[tuple[str, str], list[str]] = {}
    for number, (model, question, baseline, winner) in enumerate(battles, start=1):
        if baseline != ArenaHard.baseline or winner not in _VALUES:
            raise UserError(
                f"{path}, row {number}: {winner!r} won, with {baseline!r} as 'model_a'; winners "
                f"are {', '.join(_VALUES)}, and scores are against {ArenaHard.baseline} alone"
            )
        questions.setdefault((model, question), []).append(winner)
    for (model, question), winners in questions.items():
        games = _games(winners)
        if len(games) > len(GAMES):
            raise UserError(
                f"{path}, question '{question}': {len(winners)} battles of {model} do not come "
                "from two games; give each file once"
            )
        for game, (winner, weight) in zip(GAMES, games, strict=False):
            yield item_row(
                benchmark,
                question + game.suffix,
                model,
                "win_rate",
                value=_VALUES[winner],
                weight=float(weight),
                no_answer=False,
                stratum="all",
                scorer_version=ArenaHard.version,
            )


def _games(winners: list[str]) -> list[tuple[str, int]]:
    """Winner and battles of each game of a question; a tie is never a strong verdict."""
    runs = [(winner, len(list(run))) for winner, run in groupby(winners)]
    return [
        (winner, battles)
        for winner, count in runs
        for battles in ((1,) * count if winner == "tie" else _GAMES_OF.get(count, (1,) * count))
    ]
