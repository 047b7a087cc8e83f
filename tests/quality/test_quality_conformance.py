"""Real instructions through a reward model; published ArmoRM scores through the calibration."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kyara_kedro.quality.calibration import combine, quality_table, summarise
from kyara_kedro.quality.rewards import RewardScorer
from kyara_kedro.quality.scorers import HeuristicsScorer, QualityOptions, side_by_side
from kyara_kedro.records import QUALITY, RAW_SCORES
from kyara_kedro.text.script import language_of
from reward_models import classifier, conversation, table

from public_data import CONFORMANCE, DATA

pytestmark = CONFORMANCE
ROWS = 200


def instructions(language: str) -> list[Any]:
    with gzip.open(DATA / f"instructions/alpaca_{language}_0-3252.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(2 * ROWS), strict=False)]
    return [
        conversation(
            f"{row['instruction']}\n{row['input']}".strip(),
            row["output"],
            language=language_of(row["output"]),
        )
        for row in rows
        if row["output"].strip()
    ][:ROWS]


def test_real_conversations_in_two_languages(tmp_path: Path) -> None:
    pool = table(*instructions("zh"), *instructions("en"))
    options = QualityOptions.model_validate(
        {
            "scorers": {
                "heuristics": {"kind": "heuristics"},
                "reward": {
                    "kind": "reward_model",
                    "model": str(classifier(tmp_path / "rm", max_position_embeddings=1024)),
                    "max_tokens": 600,
                },
            }
        }
    ).scorers
    reward = RewardScorer(options["reward"], tmp_path / "values")  # type: ignore[arg-type]
    scorers = {"heuristics": HeuristicsScorer(options["heuristics"]), "reward": reward}  # type: ignore[arg-type]
    frames = list(pool.iter_slices(64))
    reward.prepare(frames)
    raw = RAW_SCORES.validate(pl.concat(side_by_side(frames, scorers)))
    combined = combine(raw.lazy(), options)
    quality = QUALITY.validate(pl.concat(quality_table([raw], combined, options)))
    found = summarise(raw.lazy(), combined, options)
    assert found["conversations"]["total"] == pool.height
    assert found["conversations"]["scored_by_none"] == quality["score"].null_count() == 0
    without = found["scorers"]["reward"]["without"]
    assert set(without) == {"too_long"}
    assert found["scorers"]["reward"]["values"] + without["too_long"] == pool.height
    assert 0 < without["too_long"] < pool.height / 2
    means = (
        combined.raw.with_columns(place=combined.calibrated["reward"])
        .drop_nulls("place")
        .group_by("language")
        .agg(pl.col("place").mean(), pl.col("reward").mean())
    )
    assert means.height > 1
    np.testing.assert_allclose(means["place"], 0.5)
    assert np.ptp(means["reward"].to_numpy()) > 0.001


def test_published_scores_keep_their_best_and_worst() -> None:
    with gzip.open(DATA / "preference/magpie_5responses_armorm.json.gz", "rt") as file:
        published = json.load(file)
    scores = [[one["score"] for one in row["rewards_armorm"]] for row in published]
    assert [len(row) for row in scores] == [5] * len(published)
    rows = [
        {
            "id": f"{prompt}:{answer}",
            "language": "en",
            "scores": [
                {"scorer": "armorm", "name": "a", "value": value, "reason": None, "detail": None}
            ],
            "aspects": [],
        }
        for prompt, values in enumerate(scores)
        for answer, value in enumerate(values)
    ]
    options = QualityOptions.model_validate(
        {"scorers": {"armorm": {"kind": "armorm", "model": "ArmoRM-Llama3-8B-v0.1"}}}
    ).scorers
    places = combine(RAW_SCORES.frame(rows).lazy(), options).score.to_numpy().reshape(-1, 5)
    for values, found in zip(np.array(scores), places, strict=True):
        assert np.argmax(found) == np.argmax(values)
        assert np.argmin(found) == np.argmin(values)
        assert (np.sign(found[:, None] - found) == np.sign(values[:, None] - values)).all()
    assert places.mean() == pytest.approx(0.5)
