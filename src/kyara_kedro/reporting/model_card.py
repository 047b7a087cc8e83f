"""The card of a trained model: what it learned from, how well it does, and what it is not for.

The card is Markdown with the front matter that the Hugging Face Hub reads
(https://huggingface.co/docs/hub/model-cards), in English and in Traditional Chinese. Every number
and name in it comes from the tables of the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from kyara_kedro.checkpoints import is_hub_name
from kyara_kedro.reporting.cards import (
    ENGLISH_NAMES,
    LANGUAGE_NAMES,
    NO_TEACHER,
    by_rules,
    environment,
    frequencies,
    front_matter,
    hub_licences,
    spoken,
)

LOSS_PICTURE = "images/training_loss.svg"
"""Where the card looks for the picture of the loss."""

_EMBEDDED = "embedded"
_SCORE = ("model", "score", "low", "high")
_DIGITS = {"share": 3, "rating": 2, "length": 0}
"""Decimals of a score by its scale."""
_CITES = "rag"
"""Source of the conversations that show how documents are cited."""
_GEMMA = "gemma"
_GEMMA_NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms\n"
)
"""What section 3.1 of these terms wants in a file named Notice."""


class Weights(NamedTuple):
    """What the weights themselves tell.

    Attributes:
        architecture: Its name in the configuration, ``gemma2``.
        parameters: Numbers in all weights.
        context: Longest prompt and answer together in tokens.
    """

    architecture: str
    parameters: int
    context: int


class Stage(NamedTuple):
    """A stage of the training.

    Attributes:
        rows: What it learned from: rows of ``records.CONVERSATION`` or ``records.PREFERENCE``.
        flow: Counts ``in``, ``held_out`` and ``dropped`` (reason to rows).
        settings: How it was trained.
    """

    rows: pl.DataFrame
    flow: Mapping[str, Any]
    settings: Mapping[str, Any]


def model_summary(
    reference: Mapping[str, str | None],
    weights: Weights,
    stages: Mapping[str, Stage],
    curves: pl.DataFrame,
    scores: pl.DataFrame,
    scales: Mapping[str, str],
    promotion: Mapping[str, Any],
) -> dict[str, Any]:
    """Gather what there is to say about a model.

    Args:
        reference: The model's, as ``ModelRef.to_dict`` gives it.
        weights: What its weights tell.
        stages: Name to stage, in the order of the training.
        curves: Rows of ``records.TRAINING_CURVE``.
        scores: Rows of ``records.BENCHMARK_SCORE``; only those of whole benchmarks are told.
        scales: Metric to ``share`` (0 to 1), ``rating`` (0 to 10) or ``length`` (characters).
        promotion: The registry's name for the model, its version, and the gate's verdict.

    Returns:
        A mapping that JSON can hold.
    """
    told = {name: _stage(name, stage, curves) for name, stage in stages.items()}
    teachers = _together(told, "teachers")
    licences = _together(told, "licences")
    base = str(reference["base"])
    whole = scores.filter(pl.col("part") == "all")
    order = {name: i for i, name in enumerate(("base", *stages, "champion"))}
    return {
        "name": promotion["model"],
        "version": promotion["candidate"],
        "fingerprint": reference["fingerprint"],
        "base": base if base == _EMBEDDED or is_hub_name(base) else Path(base).name,
        "base_on_hub": base != _EMBEDDED and is_hub_name(base),
        "demonstration": base == _EMBEDDED,
        **weights._asdict(),
        "licence": _licence(base, weights.architecture, licences),
        "stages": told,
        "languages": _together(told, "languages"),
        "licences": licences,
        "teachers": teachers,
        "rule_based_teachers": by_rules(teachers),
        "scores": _scores(whole, scales),
        "models": sorted(
            whole["model"].unique(), key=lambda name: (order.get(name, len(order)), name)
        ),
        "cites": _CITES in _together(told, "sources"),
        "verdict": promotion["verdict"],
        "reasons": promotion["reasons"],
    }


def model_card(summary: dict[str, Any]) -> str:
    """Write the card of a model in English and in Traditional Chinese.

    Args:
        summary: What :func:`model_summary` returned.

    Returns:
        Markdown with YAML front matter.
    """
    templates = environment()
    context = {
        "s": summary,
        "language_names": LANGUAGE_NAMES,
        "english_names": ENGLISH_NAMES,
        "no_teacher": NO_TEACHER,
        "picture": LOSS_PICTURE,
        "digits": _DIGITS,
        "settings": _settings(summary["stages"]),
        "gemma": summary["licence"] == _GEMMA,
    }
    parts = [
        templates.get_template(f"model_card.{code}.md.jinja").render(context)
        for code in ("en", "zh-TW")
    ]
    return _front_matter(summary) + "\n" + "\n---\n\n".join(parts)


def notices(summary: Mapping[str, Any]) -> dict[str, str]:
    """The files that the licence of the base model wants beside the weights, by name."""
    return {"Notice": _GEMMA_NOTICE} if summary["licence"] == _GEMMA else {}


def _stage(name: str, stage: Stage, curves: pl.DataFrame) -> dict[str, Any]:
    rows = stage.rows
    points = curves.filter(pl.col("stage") == name).sort("step")
    losses, tokens = (
        points.filter(pl.col("metric") == metric)["value"] for metric in ("loss", "num_tokens")
    )
    blank = pl.Series([], dtype=pl.String)
    return {
        "kind": stage.settings["kind"],
        "in": stage.flow["in"],
        "rows": rows.height,
        "held_out": stage.flow["held_out"],
        "dropped": dict(stage.flow["dropped"]),
        "tokens": None if tokens.is_empty() else int(tokens[-1]),
        "loss": None if losses.is_empty() else [losses[0], losses[-1]],
        "settings": dict(stage.settings),
        "sources": frequencies(rows["source"]),
        "licences": frequencies(rows["licence"]),
        "languages": frequencies(rows.get_column("language", default=blank)),
        "teachers": frequencies(rows.get_column("teacher", default=blank).fill_null(NO_TEACHER)),
        "judges": frequencies(rows.get_column("judge", default=blank).drop_nulls()),
    }


def _together(stages: Mapping[str, dict[str, Any]], what: str) -> dict[str, int]:
    """Counts over all stages, the most frequent first."""
    total: Counter[str] = Counter()
    for stage in stages.values():
        total.update(stage[what])
    return dict(sorted(total.items(), key=lambda one: (-one[1], one[0])))


def _licence(base: str, architecture: str, of_data: Mapping[str, int]) -> str:
    """The one licence of the weights, or ``other`` where there is none.

    Weights that were trained from Gemma's stay under Gemma's terms; new ones are under the licence
    of what they learned from.
    """
    if base != _EMBEDDED:
        return _GEMMA if architecture.startswith(_GEMMA) else "other"
    found = hub_licences(of_data)
    return found[0] if len(found) == 1 else "other"


def _scores(scores: pl.DataFrame, scales: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each benchmark and metric, with every model's score and interval."""
    return [
        {
            "benchmark": benchmark,
            "metric": metric,
            "items": int(rows["items"].max()),  # type: ignore[arg-type]
            "scale": scales[metric],
            "models": {row["model"]: row for row in rows.select(_SCORE).to_dicts()},
        }
        for (benchmark, metric), rows in scores.group_by("benchmark", "metric", maintain_order=True)
    ]


def _settings(stages: Mapping[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """Each setting and its value in every stage; None where a stage has none."""
    names = dict.fromkeys(name for stage in stages.values() for name in stage["settings"])
    return {name: [stage["settings"].get(name) for stage in stages.values()] for name in names}


def _front_matter(summary: dict[str, Any]) -> str:
    licence = summary["licence"]
    sources = _together(summary["stages"], "sources")
    fields: dict[str, Any] = {
        **spoken(summary["languages"]),
        "license": licence,
        **({"license_name": "see-the-card"} if licence == "other" else {}),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": summary["base"]} if summary["base_on_hub"] else {}),
        **({"datasets": named} if (named := [name for name in sources if "/" in name]) else {}),
        "tags": _tags(summary),
    }
    return front_matter(fields)


def _tags(summary: Mapping[str, Any]) -> Sequence[str]:
    kinds = dict.fromkeys(stage["kind"] for stage in summary["stages"].values())
    demonstration = ["demonstration"] if summary["demonstration"] else []
    rules = ["rule-based-teacher"] if summary["rule_based_teachers"] else []
    return ["traditional-chinese", "taiwan", "kyara", *kinds, *demonstration, *rules]
