"""How good conversations are, by all configured scorers: raw values, one score, a picture."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from kyara_kedro.content import batched
from kyara_kedro.datasets.table import Frames, batches
from kyara_kedro.params import CurateParams
from kyara_kedro.pipelines.asking import Fault, answers, fault, prompt_language
from kyara_kedro.prompts import PromptLibrary
from kyara_kedro.prompts.rubric import CRITERIA
from kyara_kedro.quality.calibration import combine, quality_table, summarise
from kyara_kedro.quality.scorers import (
    SCORED,
    JudgeOptions,
    RewardOptions,
    Scorer,
    ScorerOptions,
    local_scorer,
    side_by_side,
)
from kyara_kedro.reporting import dataset_card as card
from kyara_kedro.reporting.charts import Figure
from kyara_kedro.shards import Shard
from kyara_kedro.teachers.base import Teacher, ask
from kyara_kedro.teachers.tasks import Grades

_ASKED_AT_ONCE = 128
"""Frames whose conversations the judge is asked about together."""


def score_rewards(
    reviewed_conversations: pl.LazyFrame,
    params: CurateParams,
    reward_values: Path,
    *,
    shard: Shard,
) -> int:
    """Let reward models score one shard of the conversations; their values stay in the folder.

    Returns:
        How many values the models have for it.
    """
    from kyara_kedro.quality.rewards import RewardScorer

    models = [one for one in params.quality.scorers.values() if isinstance(one, RewardOptions)]
    return sum(
        RewardScorer(one, reward_values).fill(batches(reviewed_conversations), shard)
        for one in models
    )


def score_conversations(
    reviewed_conversations: pl.LazyFrame,
    params: CurateParams,
    judge: Teacher,
    prompt_library: PromptLibrary,
    reward_values: Path,
    *_scored: int,
) -> Frames:
    """Let every configured scorer score every conversation; the raw values are side by side."""
    frames = Frames(lambda: batches(reviewed_conversations.lazy()))
    scorers = {
        name: _scorer(options, judge, prompt_library, reward_values)
        for name, options in params.quality.scorers.items()
    }
    for scorer in sorted(scorers.values(), key=lambda one: isinstance(one, JudgeScorer)):
        scorer.prepare(frames)  # what may have to be paid for comes last
    return Frames(lambda: side_by_side(frames, scorers))


def combine_scores(
    raw_scores: pl.LazyFrame, params: CurateParams
) -> tuple[Frames, dict[str, Any], Figure]:
    """Calibrate the raw values and make one score of them.

    Returns:
        The quality of each conversation, what the scorers found, and how their raw values are
        spread by language.
    """
    scorers = params.quality.scorers
    combined = combine(raw_scores, scorers)
    table = Frames(lambda: quality_table(batches(raw_scores), combined, scorers))
    summary = summarise(raw_scores, combined, scorers)
    return table, summary, card.quality_distributions(combined.raw)


def _scorer(options: ScorerOptions, judge: Teacher, prompts: PromptLibrary, folder: Path) -> Scorer:
    if isinstance(options, JudgeOptions):
        return JudgeScorer(judge, prompts)
    return local_scorer(options, folder)


class JudgeScorer:
    """A teacher that grades by a rubric, see :class:`kyara_kedro.quality.scorers.Scorer`.

    The value is the mean of the grades, on their scale. A reply without grades, or with one that
    is not on the scale, gives no value but a reason.

    Args:
        judge: Who grades; its ledger keeps what was paid for.
        prompts: Templates.
    """

    def __init__(self, judge: Teacher, prompts: PromptLibrary) -> None:
        self._judge, self._prompts = judge, prompts
        self._graded: dict[str, tuple[int, ...]] = {}
        self._failed: dict[str, Fault] = {}
        self.name = f"judge:{judge.name}"

    def prepare(self, frames: Iterable[pl.DataFrame]) -> None:
        """Ask the judge about every conversation."""
        same: dict[tuple[int, ...], tuple[int, ...]] = {}
        for some in batched(frames, _ASKED_AT_ONCE):
            requests = [
                ask(
                    self._prompts,
                    row_id,
                    "rate_conversation",
                    prompt_language(language),
                    messages=messages,
                )
                for frame in some
                for row_id, language, messages in frame.select(
                    "id", "language", "messages"
                ).iter_rows()
            ]
            for row_id, completion in answers(self._judge, requests, "quality").items():
                if isinstance(completion.parsed, Grades):
                    grades = tuple(getattr(completion.parsed, name) for name in CRITERIA)
                    self._graded[row_id] = same.setdefault(grades, grades)
                else:
                    self._failed[row_id] = fault(completion) or ("no_grades", completion.text[:80])

    def score(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Give the grades, frame by frame."""
        for frame in frames:
            yield pl.DataFrame(map(self._row, frame["id"]), dict(SCORED), orient="row")

    def _row(self, row_id: str) -> Mapping[str, Any]:
        grades = self._graded.get(row_id)
        if grades is None:
            reason, detail = self._failed[row_id]
            return {"value": None, "reason": reason, "detail": detail, "aspects": []}
        return {
            "value": sum(grades) / len(grades),
            "reason": None,
            "detail": None,
            "aspects": [
                {"aspect": name, "value": float(grade)}
                for name, grade in zip(CRITERIA, grades, strict=True)
            ],
        }
