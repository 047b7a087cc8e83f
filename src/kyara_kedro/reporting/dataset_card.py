"""The card of a training corpus: what is in it, where it comes from and what was left out.

The card is Markdown with the front matter that the Hugging Face Hub reads
(https://huggingface.co/docs/hub/datasets-cards), in Traditional Chinese and in English.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import polars as pl

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
from kyara_kedro.reporting.charts import Figure, bar_chart, histograms, stage_chart
from kyara_kedro.reporting.publication import DATA_FILES, features

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SIZES = (
    *((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")),
    *((10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B")),
)
_TOP_TAGS = 20
_MOST_BARS = 12
_LONGEST = 8192
_CONVERSATIONS = "對話數 conversations"


class Pictures(NamedTuple):
    """The pictures of a card, named as their files are."""

    language_distribution: Figure
    round_distribution: Figure
    token_distribution: Figure
    source_distribution: Figure
    teacher_distribution: Figure
    licence_distribution: Figure
    top_tags: Figure
    quality_histogram: Figure
    drop_waterfall: Figure


SHOWN = (*Pictures._fields, "tag_coverage", "tag_steps")
"""What the card shows: its pictures, and those of :mod:`kyara_kedro.reporting.tag_figures`."""

_PICTURES = dict(
    zip(
        SHOWN,
        (
            ("語言分布", "Languages"),
            ("對話回合數", "Conversation rounds"),
            ("對話長度", "Lengths"),
            ("來源", "Sources"),
            ("教師", "Teachers"),
            ("授權", "Licences"),
            ("最常見的標籤", "Most frequent tags"),
            ("品質分數", "Quality scores"),
            ("從文件到入選", "From documents to the selection"),
            ("標籤覆蓋率", "Coverage of the tags"),
            ("標籤正規化", "Normalisation of the tags"),
        ),
        strict=True,
    )
)


def dataset_summary(
    conversations: pl.DataFrame,
    tags: pl.DataFrame,
    tag_map: pl.DataFrame,
    quality: pl.DataFrame,
    drops: pl.DataFrame,
    selection: Mapping[str, Any],
) -> dict[str, Any]:
    """Count what a corpus holds.

    Args:
        conversations: Rows of ``records.CONVERSATION``, the corpus itself.
        tags: Rows of ``records.TAGS``; those of other conversations only tell which tags there are.
        quality: Rows of ``records.QUALITY``; those of other conversations are not counted.
        tag_map: Rows of ``records.TAG_MAP``.
        drops: Rows of ``records.DROP``, of all pipelines on the way.
        selection: What :class:`kyara_kedro.quality.selection.Selection` reports.

    Returns:
        A mapping that JSON can hold. Counts are sorted, the most frequent first:
        ``rows``, ``tokens`` (total, median, p95), ``rounds``, ``languages``, ``sources``,
        ``teachers`` (``none`` for published data), ``rule_based_teachers``, ``licences``,
        ``quality`` (scorers, rows, mean, quantiles), ``tags`` (distinct, taggers, the 20 most
        frequent, mean complexity, diversity, which is the share of all tags that the corpus
        covers, raw tags by the step that settled them), ``selection``, ``drops`` (pipeline to
        reason to rows).
    """
    chosen = conversations.select("id")
    tagged = tags.join(chosen, on="id", how="semi")
    scored = quality.join(chosen, on="id", how="semi").drop_nulls("score")
    teachers = frequencies(conversations["teacher"].fill_null(NO_TEACHER))
    every_tag = frequencies(tagged["tags"].list.drop_nulls().explode(empty_as_null=False))
    known = tags["tags"].explode(empty_as_null=False).n_unique()
    return {
        "rows": conversations.height,
        "tokens": {
            "total": int(conversations["tokens"].sum()),
            "median": _quantile(conversations["tokens"], 0.5),
            "p95": _quantile(conversations["tokens"], 0.95),
        },
        "rounds": dict(
            sorted(frequencies(conversations["rounds"]).items(), key=lambda c: int(c[0]))
        ),
        "languages": frequencies(conversations["language"]),
        "sources": frequencies(conversations["source"]),
        "teachers": teachers,
        "rule_based_teachers": by_rules(teachers),
        "licences": frequencies(conversations["licence"]),
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
            "raw": frequencies(tag_map["step"]),
            "diversity": _rounded(len(every_tag) / known) if known else None,
        },
        "selection": dict(selection),
        "drops": {
            str(pipeline): frequencies(rows["reason"])
            for (pipeline,), rows in drops.group_by("pipeline", maintain_order=True)
        },
    }


def draw(
    conversations: pl.DataFrame,
    tags: pl.DataFrame,
    quality: pl.DataFrame,
    stages: Sequence[tuple[str, int, int]],
) -> Pictures:
    """Draw a corpus.

    Args:
        conversations: Rows of ``records.CONVERSATION``, the corpus itself.
        tags: Rows of ``records.TAGS``; those of other conversations are not counted.
        quality: Rows of ``records.QUALITY``, of all conversations that were selected from.
        stages: (label, in, out) of each step on the way here.
    """
    chosen = conversations.select("id")
    tagged = tags.join(chosen, on="id", how="semi")
    scores = quality.drop_nulls("score")
    return Pictures(
        _distribution("語言分布 Languages", conversations["language"], LANGUAGE_NAMES),
        _round_distribution(conversations["rounds"]),
        _token_distribution(conversations["tokens"]),
        _distribution("來源 Sources", conversations["source"]),
        _distribution("教師 Teachers", *_teachers(conversations["teacher"])),
        _distribution("授權 Licences", conversations["licence"]),
        _distribution(
            "最常見的標籤 Most frequent tags",
            tagged["tags"].list.drop_nulls().explode(empty_as_null=False),
            most=_TOP_TAGS,
        ),
        histograms(
            "品質分數 Quality scores",
            {
                "全部 all": scores["score"].to_list(),
                "入選 selected": scores.join(chosen, on="id", how="semi")["score"].to_list(),
            },
            span=(0.0, 1.0),
            x_label="分數 score",
            y_label=_CONVERSATIONS,
        ),
        stage_chart(
            "從文件到入選 From documents to the selection",
            stages,
            kept="留下 kept",
            lost="捨去 dropped",
            x_label="筆數，各階段單位不同 rows, each stage counts its own kind",
        ),
    )


def _distribution(
    title: str, values: pl.Series, names: Mapping[str, str] | None = None, most: int = _MOST_BARS
) -> Figure:
    """How many conversations have each value; what is beyond the first ``most`` is one bar."""
    counts = frequencies(values)
    shown = {(names or {}).get(name, name): rows for name, rows in list(counts.items())[:most]}
    if len(counts) > most and most == _MOST_BARS:
        rest = len(counts) - most
        shown[f"其他 {rest} 種 others"] = sum(counts.values()) - sum(shown.values())
    return bar_chart(
        title, list(shown), {_CONVERSATIONS: list(shown.values())}, x_label=_CONVERSATIONS
    )


def _teachers(values: pl.Series) -> tuple[pl.Series, dict[str, str]]:
    """Teachers and what they are called: rules are told from language models."""
    filled = values.fill_null(NO_TEACHER)
    names = {name: f"規則 {name}" for name in by_rules(filled.unique().to_list())}
    return filled, names | {NO_TEACHER: "公開資料 published"}


def _round_distribution(values: pl.Series, longest: int = 10) -> Figure:
    """How many conversations have one round, two, ...; those above ``longest`` are one bar."""
    counts = frequencies(values.clip(upper_bound=longest + 1))
    rounds = sorted(map(int, counts))
    return bar_chart(
        "對話回合數 Conversation rounds",
        [f"{n} 回合" if n <= longest else f"多於 {longest} 回合" for n in rounds],
        {_CONVERSATIONS: [counts[str(n)] for n in rounds]},
        x_label=_CONVERSATIONS,
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
    for language in list(frequencies(raw["language"]))[:languages]:
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


def _token_distribution(values: pl.Series) -> Figure:
    """How many conversations have up to 32 tokens, up to 64, ..., doubling."""
    edges = [32 << n for n in range((_LONGEST // 32).bit_length())]
    bins = values.cut(edges, left_closed=False).to_physical().cast(pl.Int64)
    counts = dict(zip(*bins.value_counts().sort(bins.name), strict=True))
    names = [f"{low + 1:,}–{high:,}" for low, high in zip([0, *edges], edges, strict=False)]
    names.append(f"{edges[-1]:,} 以上 +")
    used = range(min(counts, default=0), max(counts, default=0) + 1)
    return bar_chart(
        "對話長度 Lengths in tokens",
        [names[n] for n in used],
        {_CONVERSATIONS: [counts.get(n, 0) for n in used]},
        x_label=_CONVERSATIONS,
    )


def dataset_card(summary: dict[str, Any], language: Literal["zh-TW", "en"] = "zh-TW") -> str:
    """Write the card of a corpus.

    The pictures :data:`SHOWN` belong into the folder ``images`` beside it.

    Args:
        summary: What :func:`dataset_summary` counted.
        language: The language that comes first; the other one follows.

    Returns:
        Markdown with YAML front matter.
    """
    templates = environment()
    order = ("zh-TW", "en") if language == "zh-TW" else ("en", "zh-TW")
    context = {
        "s": summary,
        "language_names": LANGUAGE_NAMES,
        "english_names": ENGLISH_NAMES,
        "no_teacher": NO_TEACHER,
        "pictures": _PICTURES,
        "dropped": sum(sum(reasons.values()) for reasons in summary["drops"].values()),
        "only_rules": set(summary["teachers"]) <= {NO_TEACHER, *summary["rule_based_teachers"]},
        "written_by_rules": sum(summary["teachers"][t] for t in summary["rule_based_teachers"]),
    }
    parts = [
        templates.get_template(f"dataset_card.{code}.md.jinja").render(context) for code in order
    ]
    return _front_matter(summary) + "\n" + "\n---\n\n".join(parts)


def _front_matter(summary: dict[str, Any]) -> str:
    size = next((name for limit, name in _SIZES if summary["rows"] < limit), "1B<n<10B")
    rules = ["rule-based-teacher"] if summary["rule_based_teachers"] else []
    fields: dict[str, Any] = {
        "pretty_name": "Kyara-Kedro curated conversations",
        **spoken(summary["languages"]),
        "license": hub_licences(summary["licences"]),
        "size_categories": [size],
        "task_categories": ["text-generation"],
        "tags": ["traditional-chinese", "taiwan", "instruction-tuning", "kyara", *rules],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": DATA_FILES}]}
        ],
        "dataset_info": {"features": features()},
    }
    return front_matter(fields)


def _quantile(values: pl.Series, q: float) -> float | None:
    return _rounded(values.quantile(q, interpolation="linear"))


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)
