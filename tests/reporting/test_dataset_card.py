import json
from typing import Any

import polars as pl
import pytest
import yaml

from kyara_kedro.content import content_id
from kyara_kedro.records import CONVERSATION, DROP, QUALITY, TAGS, drops
from kyara_kedro.reporting.dataset_card import (
    dataset_card,
    dataset_summary,
    drop_waterfall,
    language_distribution,
    quality_histogram,
    round_distribution,
)


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
def summary(conversations: pl.DataFrame) -> dict[str, Any]:
    """What there is to say about them."""
    tags = TAGS.frame(
        {
            "id": name,
            "raw_tags": [],
            "tags": found,
            "complexity": len(found),
            "tagger": "rules",
        }
        for name, found in (
            ("c0", ["地理", "歷史"]),
            ("c1", ["地理"]),
            ("c2", []),
            ("gone", ["法律"]),
        )
    )
    quality = QUALITY.frame(
        {"id": f"c{i}", "score": i / 4, "aspects": [], "scorer": "heuristics"}
        for i in range(9)
        if i < 5
    )
    lost = pl.concat(
        [
            drops("ingest", [("a", "blank", ""), ("b", "blank", ""), ("c", "too_short", "")]),
            drops("dedup", [("d", "exact_duplicate", "")]),
        ]
    )
    return dataset_summary(conversations, tags, quality, lost)


def test_the_summary_counts(summary: dict[str, Any]) -> None:
    assert summary["rows"] == 4
    assert summary["tokens"] == {"total": 100, "median": 25.0, "p95": 38.5}
    assert summary["rounds"] == {"1": 2, "2": 1, "12": 1}
    assert list(summary["languages"].items()) == [("zh-Hant-TW", 2), ("en", 1), ("zh-Hans-CN", 1)]
    assert summary["teachers"] == {"extractive-rules-v1": 3, "none": 1}
    assert summary["rule_based_teachers"] == ["extractive-rules-v1"]
    assert summary["quality"]["rows"] == 4 and summary["quality"]["mean"] == 0.375
    assert summary["tags"]["top"] == {"地理": 2, "歷史": 1}
    assert summary["drops"] == {
        "dedup": {"exact_duplicate": 1},
        "ingest": {"blank": 2, "too_short": 1},
    }
    assert json.loads(json.dumps(summary)) == summary


def test_an_empty_corpus_has_a_summary_and_a_card() -> None:
    empty = dataset_summary(CONVERSATION.frame(), TAGS.frame(), QUALITY.frame(), DROP.frame())
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
    for picture in ("language_distribution", "round_distribution", "drop_waterfall"):
        assert body.count(f"({picture}.svg)") == 2
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


def test_unknown_licences_are_other(summary: dict[str, Any]) -> None:
    card = dataset_card(summary | {"licences": {"OGDL-Taiwan-1.0": 4}})
    assert yaml.safe_load(card.split("---\n", 2)[1])["license"] == ["other"]


def test_the_distributions_show_every_conversation(conversations: pl.DataFrame) -> None:
    languages = language_distribution(conversations).series[0]
    assert languages.x[0] == "繁體中文（臺灣）" and sum(y or 0 for y in languages.y) == 4
    rounds = round_distribution(conversations).series[0]
    assert rounds.x == ("1 回合", "2 回合", "多於 10 回合") and rounds.y == (2, 1, 1)


def test_quality_and_drops_are_drawn() -> None:
    quality = QUALITY.frame(
        {"id": content_id(i), "score": i / 10, "aspects": [], "scorer": "s"} for i in range(11)
    )
    assert sum(y or 0 for y in quality_histogram(quality).series[0].y) == 11
    falls = drop_waterfall([("匯入 ingest", 100, 80), ("挑選 curate", 80, 20)]).series[0]
    assert falls.y == (100, -20, -60, 20)
