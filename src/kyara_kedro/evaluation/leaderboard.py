"""The scores of the Open LLM Leaderboard v2: every benchmark on a scale from chance to perfect.

A score at the level of guessing becomes 0, one below it too, and a perfect one 100; benchmarks
whose parts have different numbers of choices are normalised part by part, then averaged. The rule
is that of https://huggingface.co/docs/leaderboards/open_llm_leaderboard/normalization, the numbers
of choices those of lm-evaluation-harness' tasks; MMLU-Pro counts as having 10 throughout, although
some of its questions have fewer. lm-evaluation-harness itself reports the raw values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from kyara_kedro.errors import UserError

_BBH = {
    "boolean_expressions": 2,
    "causal_judgement": 2,
    "date_understanding": 6,
    "disambiguation_qa": 3,
    "formal_fallacies": 2,
    "geometric_shapes": 11,
    "hyperbaton": 2,
    "logical_deduction_five_objects": 5,
    "logical_deduction_seven_objects": 7,
    "logical_deduction_three_objects": 3,
    "movie_recommendation": 6,
    "navigate": 2,
    "object_counting": 19,
    "penguins_in_a_table": 5,
    "reasoning_about_colored_objects": 18,
    "ruin_names": 6,
    "salient_translation_error_detection": 6,
    "snarks": 2,
    "sports_understanding": 2,
    "temporal_sequences": 4,
    "tracking_shuffled_objects_five_objects": 5,
    "tracking_shuffled_objects_seven_objects": 7,
    "tracking_shuffled_objects_three_objects": 3,
    "web_of_lies": 2,
}
_MUSR = {"murder_mysteries": 2, "object_placements": 5, "team_allocation": 3}
_MATH = (
    "algebra_hard counting_and_prob_hard geometry_hard intermediate_algebra_hard num_theory_hard "
    "prealgebra_hard precalculus_hard"
)


class _Benchmark(NamedTuple):
    """One benchmark of the leaderboard.

    Attributes:
        title: Its name there.
        metrics: What is averaged.
        strata: The parts that have to be there.
        choices: Number of choices of each part that is normalised for itself, or of all of them
            together; 1 where nothing can be guessed.
    """

    title: str
    metrics: tuple[str, ...]
    strata: tuple[str, ...]
    choices: Mapping[str, int] | int


_LEADERBOARD = {
    "lm-eval/leaderboard_ifeval": _Benchmark(
        "IFEval", ("prompt_level_strict_acc", "inst_level_strict_acc"), ("all",), 1
    ),
    "lm-eval/leaderboard_bbh": _Benchmark("BBH", ("acc_norm",), tuple(_BBH), _BBH),
    "lm-eval/leaderboard_math_hard": _Benchmark(
        "MATH Lvl 5", ("exact_match",), tuple(_MATH.split()), 1
    ),
    "lm-eval/leaderboard_gpqa": _Benchmark(
        "GPQA", ("acc_norm",), ("diamond", "extended", "main"), 4
    ),
    "lm-eval/leaderboard_musr": _Benchmark("MUSR", ("acc_norm",), tuple(_MUSR), _MUSR),
    "lm-eval/leaderboard_mmlu_pro": _Benchmark("MMLU-PRO", ("accuracy",), ("all",), 10),
}
AVERAGE = "Average"


def normalised(share: float, choices: int) -> float:
    """A share of right answers on a scale from 0, what guessing gives, to 1.

    Args:
        share: From 0 to 1.
        choices: Among how many a guess is; 1 where nothing can be guessed.
    """
    chance = 1 / choices if choices > 1 else 0.0
    return max(0.0, (share - chance) / (1 - chance))


def leaderboard_scores(items: pl.DataFrame) -> pl.DataFrame:
    """Average the items of the leaderboard's benchmarks as it does.

    IFEval is the mean of its two strict accuracies, GPQA and MATH are taken over all questions
    together, BBH and MuSR are means over their parts.

    Args:
        items: Rows of ``records.BENCHMARK_ITEM`` as ``evaluation.harness`` writes them; those of
            other benchmarks are left alone.

    Returns:
        Columns model, benchmark (as the leaderboard writes it) and score, 0 to 100. ``Average``,
        the mean of all six, is there for models that have all six.

    Raises:
        UserError: a model has answered a part of a benchmark only.
    """
    rows = []
    for model in items["model"].unique().sort():
        mine = items.filter(pl.col("model") == model)
        scores = {
            spec.title: 100 * _score(spec, found, str(model))
            for name, spec in _LEADERBOARD.items()
            if (found := mine.filter(pl.col("benchmark") == name)).height
        }
        if len(scores) == len(_LEADERBOARD):
            scores[AVERAGE] = sum(scores.values()) / len(scores)
        rows += [(model, title, score) for title, score in scores.items()]
    schema = {"model": pl.String, "benchmark": pl.String, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _score(spec: _Benchmark, items: pl.DataFrame, model: str) -> float:
    for metric in spec.metrics:
        there = set(items.filter(pl.col("metric") == metric)["stratum"])
        if missing := [stratum for stratum in spec.strata if stratum not in there]:
            raise UserError(
                f"{spec.title}: model '{model}' has no {metric} of {', '.join(missing)}; run all "
                "of its parts"
            )
    chosen = items.filter(pl.col("metric").is_in(spec.metrics))
    if isinstance(spec.choices, int):
        return normalised(_mean([_share(chosen, metric=m) for m in spec.metrics]), spec.choices)
    return _mean([normalised(_share(chosen, stratum=s), n) for s, n in spec.choices.items()])


def _share(items: pl.DataFrame, **of: str) -> float:
    """The weighted mean of the items with these values."""
    found = items.filter(**of)
    return float(np.average(found["value"], weights=found["weight"]))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
