"""Arena-Hard v0.1: 500 hard requests, each output in two games against GPT-4's.

In the first game the baseline is shown first, in the second the model. The verdict has five grades,
and a strong one counts as three battles. The score is the model's chance of winning by Bradley and
Terry's model; where all battles are against one baseline that is the share of battles won, ties
half. Rules are those of ``gen_judgment.py`` and ``show_result.py`` of arena-hard-auto, v0.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import (
    Decoding,
    Question,
    Row,
    Rows,
    cluster,
    field_of,
    no_judgements,
    part_of,
    scorer_version,
    silent,
)
from kyara_kedro.evaluation.benchmarks.compared import Compared, Game
from kyara_kedro.records import BENCHMARK_ITEM
from kyara_kedro.text.pairwise import LABELS

GAMES = (Game("#1", swapped=True), Game("#2", swapped=False))
"""The baseline is shown first in the first game, and last in the second."""
_ROUNDS = 100
_SEED = 42
_LEAST = 1e-9


class ArenaHard(Compared):
    """Requests with a baseline's answers; the metric is ``win_rate``, an item one game."""

    kind = "arena_hard"
    title = "Arena-Hard"
    judged_by = "judge_arena"
    further_parts = ("baseline",)
    baseline = "gpt-4-0314"
    version = scorer_version("arena-hard-0.1")
    metrics = ("win_rate",)

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read ``question.jsonl`` and the baseline's ``model_answer`` file.

        Args:
            parts: ``questions``; ``baseline`` where outputs are to be judged.

        Raises:
            UserError: the questions or a field are missing.
        """
        answers = {
            str(field_of(row, "baseline", number, "question_id", "uid")): answer_of(row, number)
            for number, row in enumerate(parts.get("baseline", ()), start=1)
        }
        found = []
        for number, row in enumerate(part_of(parts, cls.kind), start=1):
            item = str(field_of(row, "questions", number, "question_id", "uid"))
            details = {"baseline": answers[item]} if item in answers else {}
            found.append(Question(item, asked_in(row, number), language="en", details=details))
        return found

    def decoding(self, question: Question) -> Decoding:
        """The most probable tokens, at most 4,096."""
        return Decoding(0.0, 4096)

    def expected(self) -> dict[str, int]:
        """Two games a question."""
        return {"win_rate": len(GAMES) * len(self.questions)}

    def games(self, question: Question, output: str) -> tuple[Game, ...]:
        """Both orders."""
        return GAMES

    def score(self, outputs: pl.DataFrame, judgements: pl.DataFrame | None = None) -> pl.DataFrame:
        """Score what judges said of the games, see :meth:`Task.score`.

        Several judges of one game count by their mean, each by the battles of its verdict.
        """
        said = self.judged(no_judgements() if judgements is None else judgements)
        battles = {label: meaning.battles for label, meaning in LABELS.items()}
        games = (
            said.drop_nulls("value")
            .with_columns(
                battles=pl.col("verdict").replace_strict(battles, return_dtype=pl.Float64)
            )
            .group_by("item_id", "model", maintain_order=True)
            .agg(
                (pl.col("value") * pl.col("battles")).sum() / pl.col("battles").sum(),
                pl.col("battles").mean(),
            )
        )
        empty = silent(outputs, self.name)
        return BENCHMARK_ITEM.frame(
            self.item(
                question,
                model,
                "win_rate",
                value,
                item_id=item,
                weight=weight,
                no_answer=(question.item_id, model) in empty,
            )
            for item, model, value, weight in games.iter_rows()
            if (question := self.questions.get(cluster(item))) is not None
        )

    def official(
        self, items: pl.DataFrame, judgements: pl.DataFrame
    ) -> dict[tuple[str, str], tuple[float, float]]:
        """The interval that ``show_result.py`` prints for a model alone, see :func:`interval`."""
        models = items.partition_by("model", as_dict=True, maintain_order=True)
        return {
            ("win_rate", str(model)): interval(rows["value"], rows["weight"])
            for (model,), rows in models.items()
        }


def interval(values: pl.Series, battles: pl.Series) -> tuple[float, float]:
    """95 % interval of 100 bootstraps over battles, NumPy's seed 42, in log-odds as officially.

    It takes the copies of a strong verdict, and the two games of a question, for independent.

    Args:
        values: 1 for a win, 0.5 for a tie, 0 for a loss, one a game.
        battles: How many battles each game counts as.
    """
    fought = np.repeat(values.to_numpy(), battles.cast(pl.Int64).to_numpy())
    random = np.random.RandomState(_SEED)
    rounds = [fought[random.choice(len(fought), len(fought))].mean() for _ in range(_ROUNDS)]
    chance = np.clip(rounds, _LEAST, 1 - _LEAST)
    low, high = np.percentile(np.log(chance / (1 - chance)), [2.5, 97.5])
    return float(1 / (1 + np.exp(-low))), float(1 / (1 + np.exp(-high)))


def asked_in(row: Row, number: int) -> str:
    """The request in a row of ``question.jsonl``.

    Raises:
        UserError: it holds none.
    """
    said: Any = field_of(row, "questions", number, "turns", "prompt")
    try:
        return str(said if isinstance(said, str) else said[0]["content"])
    except (LookupError, TypeError):
        raise UserError(f"questions, row {number}: there is no 'turns[0].content' in it") from None


def answer_of(row: Row, number: int) -> str:
    """The text of a row of a ``model_answer`` file.

    Raises:
        UserError: it holds none.
    """
    try:
        said: Any = row["choices"][0]["turns"][0] if "choices" in row else row["messages"][-1]
        text = said["content"]
        return str(text["answer"] if isinstance(text, Mapping) else text)
    except (LookupError, TypeError):
        raise UserError(
            f"baseline, row {number}: there is no 'choices[0].turns[0].content' in it"
        ) from None
