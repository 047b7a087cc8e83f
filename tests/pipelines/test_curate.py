"""The refined corpus: chosen within bounds, with a reason for every row that was not."""

import polars as pl
import pytest
from pydantic import ValidationError

from kyara_kedro.params import CurateParams
from kyara_kedro.pipelines.curate import publishing, selecting
from kyara_kedro.quality import heuristics
from kyara_kedro.quality.selection import SelectionOptions
from kyara_kedro.records import (
    CONVERSATION,
    DECISION,
    DROP,
    QUALITY,
    SIMILAR_PAIR,
    TAG_MAP,
    TAGS,
    drops,
)
from kyara_kedro.reporting.dataset_card import SHOWN
from kyara_kedro.reporting.publication import PUBLISHED

from .rows import conversations, tagged

ANSWER = (
    "可以先從附近的景點開始安排，再依照天氣和體力決定行程，記得帶水和外套，也要留意末班車的時間。"
)
THEMES = ("爬山", "賞鳥", "騎車", "露營", "看海", "泡湯", "逛夜市", "讀書")
POOL = pl.concat(
    [
        conversations(
            *(
                (f"我想去{theme}，第{n}次了，請問該怎麼準備？", f"{theme}嗎？{n}。{ANSWER}")
                for n in range(6)
            ),
            source=f"set{number % 3}",
        )
        for number, theme in enumerate(THEMES)
    ]
    + [conversations(("How do I plan a trip?", "Start with the weather, then book a train."))]
).sort("id")

NO_DECISIONS = DECISION.frame()
NO_PAIRS = SIMILAR_PAIR.frame()


def curated(params: CurateParams) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    tag_map, tags = tagged(POOL, params)
    TAG_MAP.validate(tag_map)
    assert set(TAGS.validate(tags)["id"]) == set(POOL["id"])
    quality = QUALITY.validate(heuristics.score(POOL))
    assert quality["id"].sort().to_list() == POOL["id"].to_list()
    refined, dropped, summary = selecting.select_conversations(
        POOL, tags, quality, NO_DECISIONS, NO_PAIRS, NO_PAIRS, params
    )
    DROP.validate(dropped)
    assert {*refined["id"], *dropped["record_id"]} == set(POOL["id"])
    assert not {*refined["id"]} & {*dropped["record_id"]}
    return CONVERSATION.validate(refined), dropped, summary["conversations"]["dropped"]


def test_a_budget_is_kept_and_the_rest_has_a_reason() -> None:
    selection = SelectionOptions(budget=10)
    refined, _, reasons = curated(CurateParams(selection=selection))
    assert refined.height == 10
    assert refined["id"].is_sorted()
    assert sum(reasons.values()) == POOL.height - 10


def test_other_languages_are_dropped_by_name() -> None:
    params = CurateParams(languages=("zh-Hant-TW", "zh"), selection=SelectionOptions(budget=1.0))
    refined, dropped, reasons = curated(params)
    assert "en" not in refined["language"]
    assert reasons["language_not_wanted"] == 1
    assert dropped.filter(reason="language_not_wanted")["detail"].to_list() == ["en"]


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_lowest_score_may_take_all_or_nothing(score: float) -> None:
    selection = SelectionOptions(budget=1.0, min_score=score)
    refined, _, reasons = curated(CurateParams(selection=selection))
    assert refined.height + sum(reasons.values()) == POOL.height
    if score:
        assert reasons["below_min_score"] > 0


def test_the_same_pool_in_another_order_gives_the_same_rows() -> None:
    params = CurateParams(selection=SelectionOptions(budget=0.3, max_source_share=0.5))
    tables = []
    for pool in (POOL, POOL.reverse()):
        _, tags = tagged(pool, params)
        refined, _, _ = selecting.select_conversations(
            pool, tags, heuristics.score(pool), NO_DECISIONS, NO_PAIRS, NO_PAIRS, params
        )
        tables.append(refined)
    assert tables[0].equals(tables[1])


def test_of_near_copies_the_better_one_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    params = CurateParams(selection=SelectionOptions(budget=0.9))
    _, tags = tagged(POOL, params)
    quality = heuristics.score(POOL)
    best = quality.sort("score", "id", descending=[True, False])["id"]
    pair = {"id": "p", "first_id": best[1], "second_id": best[0], "similarity": 0.66}
    pairs = SIMILAR_PAIR.frame([pair | {"method": "lexical"}])
    with caplog.at_level("INFO"):
        refined, dropped, summary = selecting.select_conversations(
            POOL.lazy(), tags, quality, NO_DECISIONS, pairs, NO_PAIRS, params
        )
    assert best[0] in refined["id"]
    assert dropped.filter(reason="similar_to_selected").select("record_id", "detail").rows() == [
        (best[1], f"of {best[0]}, similarity 0.66")
    ]
    report = summary["selection"]
    assert report["reached"] == report["asked"] == refined.height
    assert f"selection: {refined.height} of {refined.height} asked for" in caplog.text


def test_aims_at_unwanted_languages_are_refused() -> None:
    with pytest.raises(ValidationError, match="names ja"):
        CurateParams(selection=SelectionOptions(language_targets={"ja": 0.5}))


def test_nothing_in_is_nothing_out() -> None:
    params = CurateParams()
    nothing = CONVERSATION.frame()
    tag_map, tags = tagged(nothing, params)
    assert TAG_MAP.validate(tag_map).is_empty()
    refined, dropped, summary = selecting.select_conversations(
        nothing, tags, heuristics.score(nothing), NO_DECISIONS, NO_PAIRS, NO_PAIRS, params
    )
    assert refined.is_empty()
    assert dropped.is_empty()
    assert summary["conversations"] == {"in": 0, "out": 0, "dropped": {}}
    assert summary["selection"]["reached"] == 0


def test_the_card_pictures_and_rows_of_what_was_kept() -> None:
    params = CurateParams(selection=SelectionOptions(budget=10))
    tag_map, tags = tagged(POOL, params)
    quality = heuristics.score(POOL)
    refined, dropped, counts = selecting.select_conversations(
        POOL, tags, quality, NO_DECISIONS, NO_PAIRS, NO_PAIRS, params
    )
    earlier = drops("ingest", [("row", "too_short", "a.txt: 3 characters")])
    summary, card = publishing.describe_corpus(
        refined, tags, tag_map, quality, counts, earlier, DROP.frame(), DROP.frame(), dropped
    )
    assert summary["rows"] == 10
    assert "too\\_short" in card
    assert "CC0-1.0" in card
    flow = {"in": 10, "out": 6, "dropped": {"blank": 4}}
    ingest = {"documents": flow, "conversations": flow}
    stages = ("passages", "questions", "evolutions")
    synthesize = dict.fromkeys(stages, flow) | {"total": {"attempts": 50, "written": 30}}
    synthesize["evolutions"] = {"in": 0, "out": 0}
    figures = publishing.draw_corpus(
        refined, tags, quality, ingest, synthesize, {"conversations": flow}, counts
    )
    kept, lost = figures.drop_waterfall.series
    assert kept.x[0] == "文件 documents" and kept.x[-1] == "挑選 selected"
    assert kept.y == (6, 6, 6, 6, 30, 6, 10)
    assert lost.y == (4, 4, 4, 4, 20, 4, POOL.height - 10)
    published = publishing.publish_corpus(refined, tags, quality, card, *figures, *figures[:2])
    rows = pl.concat(published.rows)
    assert rows["id"].equals(refined["id"])
    assert rows.schema == PUBLISHED
    assert rows["quality"].null_count() == rows["tags"].null_count() == 0
    assert [*published.pictures] == [*SHOWN]
