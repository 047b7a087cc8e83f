import json
from typing import Any

import polars as pl
import pytest
import yaml

from kyara_kedro.quality.selection import SelectionOptions, select
from kyara_kedro.records import CONVERSATION, DROP, QUALITY, TAG_MAP, TAGS, drops
from kyara_kedro.reporting.dataset_card import SHOWN, Pictures, dataset_card, dataset_summary, draw


def _row(number: int, **changes: Any) -> dict[str, Any]:
    rounds = changes.get("rounds", 1)
    turns = [{"role": "user", "content": "問"}, {"role": "assistant", "content": "答"}] * rounds
    return {
        "id": f"c{number}",
        "messages": turns,
        "source": "document",
        "language": "zh-Hant-TW",
        "rounds": rounds,
        "tokens": 10 * (number + 1),
        "teacher": "extractive-rules-v1",
        "prompt_version": None,
        "passage_ids": [],
        "calls": [],
        "parents": ["d"],
        "licence": "CC0-1.0",
        **changes,
    }


@pytest.fixture
def conversations() -> pl.DataFrame:
    """Four conversations: three by rules, one published."""
    table = CONVERSATION.frame(
        [
            _row(0),
            _row(1, rounds=12),
            _row(2, language="zh-Hans-CN"),
            _row(
                3, language="en", teacher=None, source="share|gpt", licence="Apache-2.0", rounds=2
            ),
        ]
    )
    return CONVERSATION.validate(table)


@pytest.fixture
def tags() -> pl.DataFrame:
    """Their tags, and those of a conversation that is gone."""
    return TAGS.frame(
        {"id": name, "raw_tags": [], "tags": found, "complexity": len(found), "tagger": "rules"}
        for name, found in (
            ("c0", ["地理", "歷史"]),
            ("c1", ["地理"]),
            ("c2", []),
            ("c3", []),
            ("gone", ["法律"]),
        )
    )


@pytest.fixture
def quality() -> pl.DataFrame:
    """Their scores, and that of another conversation."""
    return QUALITY.frame(
        {"id": f"c{i}", "score": i / 4, "aspects": [], "scorer": "heuristics"} for i in range(5)
    )


@pytest.fixture
def summary(
    conversations: pl.DataFrame, tags: pl.DataFrame, quality: pl.DataFrame
) -> dict[str, Any]:
    """What there is to say about them."""
    lost = pl.concat(
        [
            drops("ingest", [("a", "blank", ""), ("b", "blank", ""), ("c", "too_short", "")]),
            drops("dedup", [("d", "exact_duplicate", "")]),
        ]
    )
    tag_map = TAG_MAP.frame(
        {
            "raw": raw,
            "final": "地理",
            "step": step,
            "count": 1,
            "found": None,
            "explanation": "",
            "id": raw,
        }
        for raw, step in (("地理", "kept"), ("地理的", "rules"), ("山川", "semantic"))
    )
    options = SelectionOptions(budget=5, language_targets={"zh-Hant-TW": 0.9})
    report = select(conversations, tags, quality, options).report
    return dataset_summary(conversations, tags, tag_map, quality, lost, report)


def test_the_summary_counts(summary: dict[str, Any]) -> None:
    assert summary["rows"] == 4
    assert summary["tokens"] == {"total": 100, "median": 25.0, "p95": 38.5}
    assert summary["rounds"] == {"1": 2, "2": 1, "12": 1}
    assert list(summary["languages"].items()) == [("zh-Hant-TW", 2), ("en", 1), ("zh-Hans-CN", 1)]
    assert summary["teachers"] == {"extractive-rules-v1": 3, "none": 1}
    assert summary["rule_based_teachers"] == ["extractive-rules-v1"]
    assert summary["quality"]["rows"] == 4 and summary["quality"]["mean"] == 0.375
    assert summary["tags"]["diversity"] == 0.6667
    assert summary["tags"]["top"] == {"地理": 2, "歷史": 1}
    assert summary["drops"] == {
        "dedup": {"exact_duplicate": 1},
        "ingest": {"blank": 2, "too_short": 1},
    }
    assert json.loads(json.dumps(summary)) == summary


def test_an_empty_corpus_has_a_summary_and_a_card() -> None:
    tables = CONVERSATION.frame(), TAGS.frame(), QUALITY.frame()
    report = select(*tables).report
    empty = dataset_summary(*tables[:2], TAG_MAP.frame(), tables[2], DROP.frame(), report)
    assert empty["rows"] == 0 and empty["tokens"]["median"] is None
    assert dataset_card(empty).startswith("---\n")


@pytest.mark.parametrize("language", ["zh-TW", "en"])
def test_the_card_holds_both_languages_front_matter_and_pictures(
    summary: dict[str, Any], language: Any
) -> None:
    card = dataset_card(summary, language)
    _, matter, body = card.split("---\n", 2)
    fields = yaml.safe_load(matter)
    assert fields["language"] == ["zh", "en"]
    assert fields["license"] == ["cc0-1.0", "apache-2.0"]
    assert fields["size_categories"] == ["n<1K"]
    assert "rule-based-teacher" in fields["tags"]
    assert fields["configs"][0]["data_files"][0]["path"] == "data/train-*.parquet"
    for picture in SHOWN:
        assert body.count(f"(images/{picture}.svg)") == 2
    headings = [line for line in body.splitlines() if line.startswith("# ")]
    assert headings == (
        ["# 資料集說明卡", "# Dataset card"] if language == "zh-TW" else headings[:2]
    )
    assert len(headings) == 2


def test_the_card_says_that_rules_are_no_language_model(summary: dict[str, Any]) -> None:
    card = dataset_card(summary)
    assert "本語料的教師不是大型語言模型" in card and "not a large language model" in card
    assert "`extractive-rules-v1`" in card
    mixed = dataset_card(summary | {"teachers": {"extractive-rules-v1": 3, "gpt": 1}})
    assert "本語料的教師不是大型語言模型" not in mixed and "a part of this corpus" in mixed
    plain = summary | {"teachers": {"gpt": 4}, "rule_based_teachers": []}
    assert "不是大型語言模型" not in dataset_card(plain)


def test_names_cannot_break_the_tables(summary: dict[str, Any]) -> None:
    hostile = summary | {"sources": {"a|b\n# <script>x</script>": 4}}
    card = dataset_card(hostile)
    assert "<script" not in card and "a\\|b # &lt;script>" in card


def test_the_card_tells_what_was_asked_and_reached(summary: dict[str, Any]) -> None:
    card = dataset_card(summary)
    assert (
        "要求 5 則，選出 4 則" in card and "5 conversations were asked for and 4 selected" in card
    )
    assert "| 地理 | 2 | 2 | 0.125 |" in card
    assert "| Traditional Chinese (Taiwan) | 2 | 2 | 50.0% | 90.0% |" in card
    assert "zh-Hant-TW: 2 of the 4 aimed at" in card
    assert "3 個原始標籤" in card and "3 raw tags" in card


@pytest.mark.parametrize(
    ("licences", "told"),
    [
        ({"OGDL-Taiwan-1.0": 4}, ["other"]),
        ({"MIT": 1, "unknown": 2, "house rules": 3, "-": 1}, ["mit", "unknown", "other"]),
        ({}, ["other"]),
    ],
)
def test_licences_are_those_that_the_hub_knows(
    summary: dict[str, Any], licences: dict[str, int], told: list[str]
) -> None:
    card = dataset_card(summary | {"licences": licences})
    assert yaml.safe_load(card.split("---\n", 2)[1])["license"] == told


@pytest.fixture
def pictures(conversations: pl.DataFrame, tags: pl.DataFrame, quality: pl.DataFrame) -> Pictures:
    """The pictures of the corpus."""
    return draw(conversations, tags, quality, [("文件 documents", 9, 7), ("挑選 selected", 8, 4)])


def test_the_distributions_show_every_conversation(pictures: Pictures) -> None:
    languages = pictures.language_distribution.series[0]
    assert languages.x[0] == "繁體中文（臺灣）" and sum(y or 0 for y in languages.y) == 4
    rounds = pictures.round_distribution.series[0]
    assert rounds.x == ("1 回合", "2 回合", "多於 10 回合") and rounds.y == (2, 1, 1)
    tokens = pictures.token_distribution.series[0]
    assert tokens.x == ("1–32", "33–64") and tokens.y == (3, 1)
    assert pictures.top_tags.series[0].x == ("地理", "歷史")
    assert pictures.licence_distribution.series[0].y == (3, 1)


def test_rules_are_told_from_models_in_the_picture_of_teachers(pictures: Pictures) -> None:
    names = pictures.teacher_distribution.series[0].x
    assert names == ("規則 extractive-rules-v1", "公開資料 published")


def test_quality_is_drawn_before_and_after_the_selection(pictures: Pictures) -> None:
    every, chosen = pictures.quality_histogram.series
    assert (sum(y or 0 for y in every.y), sum(y or 0 for y in chosen.y)) == (5, 4)


def test_many_values_end_in_one_bar(
    conversations: pl.DataFrame, tags: pl.DataFrame, quality: pl.DataFrame
) -> None:
    rows = pl.concat([conversations] * 4).with_columns(
        id=pl.format("x{}", pl.int_range(16)), source=pl.format("s{}", pl.int_range(16))
    )
    sources = draw(rows, tags, quality, []).source_distribution.series[0]
    assert len(sources.x) == 13
    assert (sources.x[-1], sources.y[-1]) == ("其他 4 種 others", 4)


@pytest.mark.parametrize("rows", [0, 1])
def test_little_can_be_drawn_too(rows: int, conversations: pl.DataFrame) -> None:
    drawn = draw(conversations.head(rows), TAGS.frame(), QUALITY.frame(), [])
    assert all("<svg" in figure.svg() for figure in drawn)
