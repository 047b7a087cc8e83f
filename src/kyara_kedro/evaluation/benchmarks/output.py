"""What any output shows without a right answer: its script, its repetitions, whether it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from kyara_kedro.evaluation.benchmarks.base import item_row
from kyara_kedro.records import BENCHMARK_ITEM
from kyara_kedro.text.repetition import distinct_4
from kyara_kedro.text.script import script_share

VERSION = "output-1"
METRICS = ("traditional_purity", "distinct_4", "stopped")
_LONGEST = 20_000


def output_metrics(outputs: pl.DataFrame) -> pl.DataFrame:
    """Measure every output; for all metrics more is better.

    * ``traditional_purity``: of the characters that tell the Chinese scripts apart, the share of
      Traditional ones; only outputs with such characters have the row.
    * ``distinct_4``: different runs of four characters over all of them (distinct-n, Li et al.,
      NAACL 2016), which is 1 minus the repetition ratio; only outputs of four or more characters.
    * ``stopped``: 1 when the model ended its turn itself.

    Args:
        outputs: Rows of ``records.MODEL_OUTPUT``.

    Returns:
        Rows of ``records.BENCHMARK_ITEM``, under the outputs' own benchmarks.
    """
    return BENCHMARK_ITEM.frame(
        row for output in outputs.iter_rows(named=True) for row in _rows(output)
    )


def output_lengths(outputs: pl.DataFrame) -> pl.DataFrame:
    """How long the outputs are.

    Returns:
        Columns benchmark, model, outputs, empty (rows without text), median_characters,
        p95_characters, median_tokens; sorted by benchmark and model.
    """
    characters = pl.col("output").str.len_chars()
    return (
        outputs.group_by("benchmark", "model")
        .agg(
            outputs=pl.len(),
            empty=(pl.col("output").str.strip_chars() == "").sum(),
            median_characters=characters.median(),
            p95_characters=characters.quantile(0.95, interpolation="linear"),
            median_tokens=pl.col("tokens").median(),
        )
        .sort("benchmark", "model")
    )


def traditional_purity(text: str) -> float | None:
    """Share of Traditional among the characters of one script only; None without any."""
    count = script_share(text)
    telling = count.traditional + count.simplified
    return count.traditional / telling if telling else None


def _rows(output: dict[str, Any]) -> Iterator[dict[str, Any]]:
    text = output["output"][:_LONGEST]
    values = {
        "traditional_purity": traditional_purity(text),
        "distinct_4": distinct_4(text),
        "stopped": float(output["stopped"]),
    }
    for metric in METRICS:
        value = values[metric]
        if value is not None:
            yield item_row(
                output["benchmark"],
                output["item_id"],
                output["model"],
                metric,
                value=value,
                no_answer=False,
                stratum="all",
                scorer_version=VERSION,
            )
