"""The card of a training corpus: what is in it, where it comes from and what was left out.

The card is Markdown with the front matter that the Hugging Face Hub reads
(https://huggingface.co/docs/hub/datasets-cards), in Traditional Chinese and in English.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kyara_kedro.reporting.charts import Figure, bar_chart, histogram, waterfall

RULE_BASED_TEACHERS = ("extractive-rules",)
"""Beginnings of the names of teachers that are programs, not language models."""

LANGUAGE_NAMES = {
    "zh-Hant-TW": "繁體中文（臺灣）",
    "zh-Hans-CN": "簡體中文",
    "zh": "中文（繁簡共通）",
    "en": "英文 English",
    "ja": "日文 Japanese",
    "other": "其他 Other",
}
_ENGLISH_NAMES = {
    "zh-Hant-TW": "Traditional Chinese (Taiwan)",
    "zh-Hans-CN": "Simplified Chinese",
    "zh": "Chinese, either script",
    "en": "English",
    "ja": "Japanese",
    "other": "other",
}
NO_TEACHER = "none"
"""Key of the rows that no teacher wrote: conversations of published data sets."""

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
_TOP_TAGS = 20
_HUB_LICENCES = {
    *("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-3.0", "cc-by-sa-4.0", "cc-by-sa-3.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "odc-by", "gemma", "gfdl", "unlicense"),
}


def dataset_summary(
    conversations: pl.DataFrame, tags: pl.DataFrame, quality: pl.DataFrame, drops: pl.DataFrame
) -> dict[str, Any]:
    """Count what a corpus holds.

    Args:
        conversations: Rows of ``records.CONVERSATION``, the corpus itself.
        tags: Rows of ``records.TAGS``; those of other conversations are not counted.
        quality: Rows of ``records.QUALITY``; those of other conversations are not counted.
        drops: Rows of ``records.DROP``, of all pipelines on the way.

    Returns:
        A mapping that JSON can hold. Counts are sorted, the most frequent first:
        ``rows``, ``tokens`` (total, median, p95), ``rounds``, ``languages``, ``sources``,
        ``teachers`` (``none`` for published data), ``rule_based_teachers``, ``licences``,
        ``quality`` (scorers, rows, mean, quantiles), ``tags`` (distinct, taggers, the 20 most
        frequent, mean complexity), ``drops`` (pipeline to reason to rows).
    """
    chosen = conversations.select("id")
    tagged = tags.join(chosen, on="id", how="semi")
    scored = quality.join(chosen, on="id", how="semi")
    teachers = _counts(conversations["teacher"].fill_null(NO_TEACHER))
    every_tag = _counts(tagged["tags"].list.drop_nulls().explode(empty_as_null=False))
    return {
        "rows": conversations.height,
        "tokens": {
            "total": int(conversations["tokens"].sum()),
            "median": _quantile(conversations["tokens"], 0.5),
            "p95": _quantile(conversations["tokens"], 0.95),
        },
        "rounds": dict(sorted(_counts(conversations["rounds"]).items(), key=lambda c: int(c[0]))),
        "languages": _counts(conversations["language"]),
        "sources": _counts(conversations["source"]),
        "teachers": teachers,
        "rule_based_teachers": [t for t in teachers if t.startswith(RULE_BASED_TEACHERS)],
        "licences": _counts(conversations["licence"]),
        "quality": {
            "scorers": sorted(scored["scorer"].unique().to_list()),
            "rows": scored.height,
            "mean": _rounded(scored["score"].mean()),
            "quantiles": {str(q): _quantile(scored["score"], q) for q in _QUANTILES},
        },
        "tags": {
            "distinct": len(every_tag),
            "taggers": sorted(tagged["tagger"].unique().to_list()),
            "top": dict(list(every_tag.items())[:_TOP_TAGS]),
            "mean_complexity": _rounded(tagged["complexity"].mean()),
        },
        "drops": {
            str(pipeline): _counts(rows["reason"])
            for (pipeline,), rows in sorted(drops.group_by("pipeline"), key=lambda g: str(g[0][0]))
        },
    }


def language_distribution(conversations: pl.DataFrame) -> Figure:
    """How many conversations there are in each language."""
    counts = _counts(conversations["language"])
    names = [LANGUAGE_NAMES.get(code, code) for code in counts]
    return bar_chart(
        "語言分布 Languages",
        names,
        {"對話數 conversations": list(counts.values())},
        x_label="對話數 conversations",
    )


def round_distribution(conversations: pl.DataFrame, longest: int = 10) -> Figure:
    """How many conversations have one round, two, ...; those above ``longest`` are one bar."""
    counts = _counts(conversations["rounds"].clip(upper_bound=longest + 1))
    rounds = sorted(map(int, counts))
    return bar_chart(
        "對話回合數 Conversation rounds",
        [f"{n} 回合" if n <= longest else f"多於 {longest} 回合" for n in rounds],
        {"對話數 conversations": [counts[str(n)] for n in rounds]},
        x_label="對話數 conversations",
    )


def quality_histogram(quality: pl.DataFrame) -> Figure:
    """How the quality scores are spread."""
    return histogram(
        "品質分數 Quality scores",
        quality["score"].drop_nulls().to_list(),
        span=(0.0, 1.0),
        x_label="分數 score",
        y_label="對話數 conversations",
    )


def quality_distributions(raw: pl.DataFrame, languages: int = 4) -> Figure:
    """Median and quartiles of each scorer's raw values, by language.

    Scales differ, so positions count: from the lowest value of a scorer, 0, to its highest, 1.

    Args:
        raw: Columns id and language, and one for each scorer.
        languages: Most languages that are drawn, the most frequent ones.
    """
    scorers = raw.drop("id", "language").columns
    values = [pl.col(scorer) for scorer in scorers]
    places = raw.with_columns(
        (value - value.min()) / (value.max() - value.min()) for value in values
    )
    medians, quartiles = {}, {}
    for language in list(_counts(raw["language"]))[:languages]:
        here = places.filter(language=language)
        name = LANGUAGE_NAMES.get(language, language)
        low, middle, high = (
            [_quantile(here[scorer].fill_nan(None), q) for scorer in scorers]
            for q in (0.25, 0.5, 0.75)
        )
        medians[name] = middle
        quartiles[name] = [
            None if one is None or other is None else (one, other)
            for one, other in zip(low, high, strict=True)
        ]
    return bar_chart(
        "原始分數的中位數與四分位數 Raw scores: medians and quartiles",
        scorers,
        medians,
        quartiles,
        x_label="從最低分 0 到最高分 1 from the lowest, 0, to the highest, 1",
    )


def drop_waterfall(counts: Sequence[tuple[str, int, int]]) -> Figure:
    """What becomes of the rows on their way through the pipelines.

    Args:
        counts: (label, rows in, rows out) of each step in order. A step that gets more rows than
            the one before it gave away joins with other rows, which are shown as added.
    """
    return waterfall(
        "從讀入到入選 From rows read to rows selected",
        counts,
        start="讀入 read",
        end="入選 selected",
        added="加入 added: {}",
        x_label="列數 rows",
    )


def dataset_card(summary: dict[str, Any], language: Literal["zh-TW", "en"] = "zh-TW") -> str:
    """Write the card of a corpus.

    The card shows the pictures ``language_distribution.svg``, ``round_distribution.svg`` and
    ``drop_waterfall.svg``, which belong into the same folder.

    Args:
        summary: What :func:`dataset_summary` counted.
        language: The language that comes first; the other one follows.

    Returns:
        Markdown with YAML front matter.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - Markdown; names go through the filter `cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    order = ("zh-TW", "en") if language == "zh-TW" else ("en", "zh-TW")
    context = {
        "s": summary,
        "language_names": LANGUAGE_NAMES,
        "english_names": _ENGLISH_NAMES,
        "no_teacher": NO_TEACHER,
        "dropped": sum(sum(reasons.values()) for reasons in summary["drops"].values()),
        "only_rules": set(summary["teachers"]) <= {NO_TEACHER, *summary["rule_based_teachers"]},
        "written_by_rules": sum(summary["teachers"][t] for t in summary["rule_based_teachers"]),
    }
    parts = [
        environment.get_template(f"dataset_card.{code}.md.jinja").render(context) for code in order
    ]
    return _front_matter(summary) + "\n" + "\n---\n\n".join(parts)


def _front_matter(summary: dict[str, Any]) -> str:
    tags = [code for code in summary["languages"] if code != "other"]
    lower = [name.lower() for name in summary["licences"]]
    licences = lower if lower and set(lower) <= _HUB_LICENCES else ["other"]
    size = next((name for limit, name in _SIZES if summary["rows"] < limit), "1M<n<10M")
    fields: dict[str, Any] = {
        "pretty_name": "Kyara-Kedro curated conversations",
        "language": list(dict.fromkeys(code.split("-")[0] for code in tags)),
        "language_bcp47": tags,
        "license": licences,
        "size_categories": [size],
        "task_categories": ["text-generation"],
        "tags": ["traditional-chinese", "taiwan", "instruction-tuning", "kyara"],
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---", ""])


def _counts(values: pl.Series) -> dict[str, int]:
    """How often each value occurs, the most frequent first and equal ones by name."""
    counted = values.cast(pl.String).rename("value").value_counts()
    ordered = counted.sort(["count", "value"], descending=[True, False])
    return dict(zip(ordered["value"].to_list(), ordered["count"].to_list(), strict=True))


def _quantile(values: pl.Series, q: float) -> float | None:
    return _rounded(values.quantile(q, interpolation="linear"))


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)


def _cell(value: Any) -> str:
    """A value that cannot break out of its table cell or become HTML."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    plain = " ".join(str(value).split())
    for mark in ("\\", "|", "`", "*", "_", "[", "]"):
        plain = plain.replace(mark, "\\" + mark)
    return plain.replace("&", "&amp;").replace("<", "&lt;")
