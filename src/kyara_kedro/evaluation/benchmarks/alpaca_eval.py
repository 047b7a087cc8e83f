"""AlpacaEval 2: how often a judge prefers a model's output to that of GPT-4 Turbo.

The judge says one letter, ``m`` for the output shown first or ``M`` for the second, and its
log-probabilities make a preference of it. Which output is shown first is drawn by a seed of the
instruction. Rules and numbers are those of ``weighted_alpaca_eval_gpt4_turbo`` of alpaca_eval 0.6.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from kyara_kedro.content import content_id
from kyara_kedro.errors import UserError
from kyara_kedro.evaluation.benchmarks.base import (
    Question,
    Row,
    Rows,
    field_of,
    no_judgements,
    part_of,
    scorer_version,
    silent,
)
from kyara_kedro.evaluation.benchmarks.compared import Compared, Game
from kyara_kedro.evaluation.length_control import (
    Calibration,
    LengthControl,
    control_length,
    packaged_instructions,
    recovered_calibration,
)
from kyara_kedro.records import BENCHMARK_ITEM

_95_PERCENT = NormalDist().inv_cdf(0.975)


class AlpacaEval(Compared):
    """Instructions with a baseline's outputs.

    The metrics are ``win_rate``, ``length_controlled``, ``discrete_win_rate`` (an output is won,
    lost or tied) and ``average_length`` in characters. Length control needs the 805 official
    instructions, or some of them. ``version`` tells whose calibration it used: ``official`` where
    the questions were read with ``df_gamed.csv``, else what the package ``recovered``.

    An item of ``length_controlled`` is the prediction for equal lengths plus how far its judgement
    moves the score, so that intervals and comparisons know that the fit depends on the judgements;
    it may be below 0 or above 1. The leaderboard's error takes the fit for given, and is a half to
    a sixth of that.
    """

    kind = "alpaca_eval"
    title = "AlpacaEval 2"
    judged_by = "judge_alpaca"
    further_parts = ("baseline", "calibration")
    baseline = "gpt4_1106_preview"

    def __init__(self, name: str, questions: Iterable[Question]) -> None:
        super().__init__(name, questions)
        self._calibration = _calibration(self.questions.values())
        self.version = _version(self._calibration)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Length control is among them where there can be any."""
        controlled = () if self._calibration is None else ("length_controlled",)
        return ("win_rate", *controlled, "discrete_win_rate", "average_length")

    @classmethod
    def read(cls, parts: Mapping[str, Rows]) -> list[Question]:
        """Read the instructions and the baseline's outputs.

        Args:
            parts: ``questions``: rows with ``instruction``, and perhaps ``dataset`` or the
                baseline's ``output``, such as its ``model_outputs.json``. ``baseline``: rows with
                ``output``, matched by ``instruction``, by ``index`` or by their order.
                ``calibration``: the rows of ``df_gamed.csv``, if there is a copy.

        Raises:
            UserError: the questions or a field are missing.
        """
        rows = part_of(parts, cls.kind)
        answers = _by_key(parts.get("baseline", rows))
        gamed = _gamed(parts.get("calibration", ()))
        found = []
        for number, row in enumerate(rows):
            text = str(field_of(row, "questions", number + 1, "instruction"))
            answer = answers.get(text) or answers.get(str(row.get("index", number))) or {}
            details = {"gamed": gamed.get(item_id(text))}
            details |= {"baseline": answer.get("output"), "baseline_model": answer.get("generator")}
            known = {name: value for name, value in details.items() if value is not None}
            found.append(question_of(text, str(row.get("dataset") or "all"), **known))
        return found

    def games(self, question: Question, output: str) -> tuple[Game, ...]:
        """A single one, in the order that the instruction draws; equal outputs need no judge."""
        if output == question.details.get("baseline"):
            return ()
        return (Game("", swapped=not model_is_first(question.question)),)

    def score(self, outputs: pl.DataFrame, judgements: pl.DataFrame | None = None) -> pl.DataFrame:
        """Score what judges said of outputs, see :meth:`Task.score`.

        An output that equals the baseline's is a tie; several judges of one output count by their
        mean. An output without a verdict has its length, and a prediction of length control.
        """
        said = no_judgements() if judgements is None else judgements
        judged = self._judged(said, list(self.questions))
        ties = self._ties(outputs, judged.schema).join(judged, on=["model", "item_id"], how="anti")
        empty = silent(outputs, self.name)
        return BENCHMARK_ITEM.frame(
            item | {"no_answer": (item["item_id"], model) in empty}
            for model, rows in self._by_model(pl.concat([judged, ties]))
            for item in self._items(model, rows)
        )

    def official(
        self, items: pl.DataFrame, judgements: pl.DataFrame
    ) -> dict[tuple[str, str], tuple[float, float]]:
        """1.96 of the leaderboard's standard errors to either side."""
        found = items.group_by("metric", "model").agg(
            pl.col("value").mean(), error=pl.col("value").std() / pl.len().sqrt()
        )
        errors = {
            (metric, model): (score, error)
            for metric, model, score, error in found.iter_rows()
            if metric in ("win_rate", "length_controlled") and error is not None
        }
        for model, rows in self._by_model(self._judged(judgements, items["item_id"].unique())):
            key = "length_controlled", model
            if key in errors and (fit := self._controlled(rows)):
                errors[key] = errors[key][0], fit.predicted.std(ddof=1) / rows.height**0.5
        return {
            key: (float(score - _95_PERCENT * error), float(score + _95_PERCENT * error))
            for key, (score, error) in errors.items()
        }

    def _judged(self, judgements: pl.DataFrame, items: Iterable[str]) -> pl.DataFrame:
        """Model, item, mean preference and lengths of what was judged, of these items.

        A baseline's length that a judgement does not tell is that of the baseline given.
        """
        lengths = {
            item: len(question.details["baseline"])
            for item, question in self.questions.items()
            if "baseline" in question.details
        }
        known = pl.col("item_id").replace_strict(lengths, default=None, return_dtype=pl.Int64)
        return (
            self.judged(judgements)
            .filter(pl.col("item_id").is_in(list(items)))
            .group_by("model", "item_id")
            .agg(
                pl.col("value").mean(),
                pl.col("chars").first(),
                pl.coalesce("opponent_chars", known).first().alias("opponent_chars"),
            )
        )

    def _by_model(self, rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
        """Each model's rows in the official order."""
        known = dict.fromkeys([*self.questions, *rows["item_id"]])
        places = {item: place for place, item in enumerate(sorted(known, key=_place))}
        place = pl.col("item_id").replace_strict(places, return_dtype=pl.Int64)
        models = rows.sort("model", place).partition_by("model", as_dict=True, maintain_order=True)
        for (model,), own in models.items():
            yield str(model), own

    def _ties(self, outputs: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
        equal = [
            (model, question.item_id, 0.5, len(output), len(output))
            for question, model, output in self.answered(outputs)
            if output == question.details.get("baseline")
        ]
        return pl.DataFrame(equal, schema=schema, orient="row")

    def _items(self, model: str, rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
        fit = self._controlled(rows)
        even = [None] * rows.height if fit is None else (fit.predicted + fit.influence).tolist()
        for row, controlled in zip(rows.iter_rows(named=True), even, strict=True):
            preferred = row["value"]
            values = {
                "win_rate": preferred,
                "length_controlled": controlled,
                "discrete_win_rate": None if preferred is None else _discrete(preferred),
                "average_length": row["chars"],
            }
            for name, value in values.items():
                if value is not None:
                    yield self.item(self.questions[row["item_id"]], model, name, float(value))

    def _controlled(self, rows: pl.DataFrame) -> LengthControl | None:
        """Length control of one model, where there are verdicts and all lengths are known."""
        lengths = rows["chars"], rows["opponent_chars"]
        if (
            self._calibration is None
            or any(length.has_nulls() for length in lengths)
            or rows["value"].is_null().all()
        ):
            return None
        preferred = rows["value"].cast(pl.Float64).fill_null(np.nan)
        return control_length(preferred, *lengths, self._calibration)


def model_is_first(instruction: str) -> bool:
    """Whether the model's output is shown before the baseline's (``is_switched_outputs``)."""
    seeded = random.Random(f"is_switched_outputs{instruction}0")  # noqa: S311 - alpaca_eval's rule
    return seeded.choices([False, True])[0]


def item_id(instruction: str) -> str:
    """Place of an official instruction from 0 on; of another one, a hash."""
    place = packaged_instructions().get(content_id(instruction)[:8])
    return content_id(instruction)[:12] if place is None else str(place)


def question_of(instruction: str, stratum: str, **details: Any) -> Question:
    """The question that an instruction is."""
    return Question(
        item_id(instruction), instruction, stratum=stratum, language="en", details=details
    )


def _discrete(preferred: float) -> float:
    """A preference as a win, a loss or, where it is exactly in the middle, a tie."""
    return 0.5 if preferred == 0.5 else float(preferred > 0.5)


def _place(item: str) -> int:
    """Where an item stands among the official ones; others stay in the order they have."""
    return int(item) if item.isdecimal() else 0


def _by_key(rows: Rows) -> dict[str, Mapping[str, Any]]:
    """Rows with an output by their instruction, else by index or order."""
    return {
        str(row.get("instruction") or row.get("index", number)): row
        for number, row in enumerate(rows)
        if row.get("output") is not None
    }


def _gamed(rows: Rows) -> dict[str, list[list[float]]]:
    """Rows of the gamed baselines of each item: their number, feature, difficulty, preference."""
    names = ("std_delta_len", "instruction_difficulty", "preference")
    found: dict[str, list[list[float]]] = {}
    for number, row in enumerate(rows, start=1):
        item = str(int(_number(row, number, "index")))
        length, *others = (_number(row, number, name) for name in names)
        found.setdefault(item, []).append([number, math.tanh(length), *others])
    return found


def _number(row: Row, number: int, name: str) -> float:
    said = field_of(row, "calibration", number, name)
    try:
        value = float(said)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"calibration, row {number}: {name} {said!r} is no number")
    return value


def _calibration(questions: Iterable[Question]) -> Calibration | None:
    """What is known of official instructions; None where others are among them.

    Where only judgements are at hand, the text of a question is no more than its id.
    """
    asked = list(questions)
    recovered = recovered_calibration()
    official = set(map(str, range(len(recovered.difficulty))))
    if not all(
        one.item_id in official and one.item_id in (one.question, item_id(one.question))
        for one in asked
    ):
        return None
    gamed = [row for one in asked for row in one.details.get("gamed", ())]
    if len(gamed) != len(recovered.gamed):
        return recovered
    rows = {int(one.item_id): one.details["gamed"][0] for one in asked}
    difficulty = np.array([rows[place][2] for place in sorted(rows)])
    return Calibration("official", difficulty, np.array([row[1:] for row in sorted(gamed)]))


def _version(calibration: Calibration | None) -> str:
    if calibration is None:
        return scorer_version("alpaca-eval-2")
    numbers = calibration.difficulty.round(6).tolist(), calibration.gamed.round(6).tolist()
    return scorer_version(f"alpaca-eval-2-{calibration.source}", *numbers)
