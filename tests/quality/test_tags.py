import polars as pl
import pytest

from kyara_kedro.content import content_id
from kyara_kedro.prompts.library import PromptLibrary
from kyara_kedro.quality.tag_normalisation import (
    NormalisationOptions,
    apply_tag_map,
    build_tag_map,
    minimum_frequency,
    rule_key,
)
from kyara_kedro.quality.tags import FALLBACK, GROUNDED, tag
from kyara_kedro.records import TAG_MAP, TAGS


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("請把這段話翻譯成英文", {"翻譯"}),
        ("请把这段话翻译成英文", {"翻譯"}),
        ("Summarize the article", {"摘要"}),
        ("用 PYTHON 寫一個排序函式", {"程式設計"}),
        ("為什麼颱風會造成豪雨？", {"原因解釋"}),
        ("臺灣的首都在哪裡？誰建立的？", {"事實問答", "地理"}),
        ("你現在是一位導遊，請推薦花蓮的景點", {"角色扮演", "規劃建議", "旅遊"}),
        ("嗨", {"閒聊"}),
        ("嗯", {FALLBACK}),
    ],
)
def test_tags(corpus, asked, expected):
    assert expected <= set(tag(corpus((asked, "好。")))["raw_tags"][0])


def test_reference_documents_are_not_what_is_asked(corpus):
    documents = [{"passage_id": "id_1a2b3c4d", "title": "憲法", "text": "法院依法律審判。"}]
    prompt = PromptLibrary().render_rag(documents, "玉山有多少公尺？", "zh-TW").messages[-1]
    (found,) = tag(corpus((prompt["content"], "好。")))["raw_tags"].to_list()
    assert found[0] == GROUNDED
    assert "法律" not in found


def test_order_is_kept_and_no_rows_are_fine(corpus):
    table = tag(corpus(("翻譯", "好"), ("嗯", "好")))
    assert table["id"].to_list() == ["0000", "0001"]
    assert tag(corpus()).height == 0


def raw(*given):
    return pl.DataFrame(
        {"id": [f"{n:04}" for n in range(len(given))], "raw_tags": list(given)},
        schema={"id": pl.String, "raw_tags": pl.List(pl.String)},
    )


def mapped(table, **options):
    found = TAG_MAP.validate(build_tag_map(table, NormalisationOptions(**options)))
    return {row["raw"]: (row["final"], row["step"]) for row in found.iter_rows(named=True)}


@pytest.mark.parametrize(
    ("queries", "least"), [(1, 2), (30_604, 2), (30_605, 3), (306_044, 20), (1_000_000, 66)]
)
def test_frequency_is_the_papers_scaled(queries, least):
    assert minimum_frequency(queries) == least


def test_rare_tags_are_dropped():
    assert mapped(raw(["翻譯", "怪"], ["翻譯"])) == {
        "翻譯": ("翻譯", "unchanged"),
        "怪": (None, "frequency"),
    }


@pytest.mark.parametrize(
    "same",
    [
        ["數據分析", "数据分析", "數據 分析", "數據的分析"],
        ["Data Analysis", "data-analysis", "ｄａｔａ＿ａｎａｌｙｓｉｓ"],
        ["法律", "法律類", "法律相關", "相關法律", "法律相關的"],
        ["recipe", "Recipes"],
    ],
)
def test_rules(same):
    assert len({rule_key(name) for name in same}) == 1


def test_rules_keep_other_words_apart():
    assert (
        len({rule_key(name) for name in ["的", "類", "class", "clas", "人類學", "C", "C 語言"]})
        >= 6
    )


def test_merging_goes_to_the_most_frequent():
    table = raw(["翻譯類"], ["翻譯類"], ["翻譯"], ["翻譯"], ["翻譯"])
    assert mapped(table) == {"翻譯": ("翻譯", "unchanged"), "翻譯類": ("翻譯", "rule")}


def test_meaning_without_an_encoder_is_spelling_and_with_one_is_meaning():
    table = raw(
        *[["旅遊規劃建議"]] * 3, *[["旅遊規劃的建議事項"]] * 2, *[["煮飯"]] * 4, *[["烹飪"]] * 2
    )
    by_spelling = mapped(table, distance=0.5)
    assert by_spelling["旅遊規劃的建議事項"] == ("旅遊規劃建議", "semantic")
    assert by_spelling["烹飪"] == ("烹飪", "unchanged")

    def encode(names):
        import numpy as np

        return np.array([[1.0, 0.0] if name in ("煮飯", "烹飪") else [0.0, 1.0] for name in names])

    found = build_tag_map(table, NormalisationOptions(distance=0.05), encode=encode)
    assert dict(found.select("raw", "final").iter_rows())["烹飪"] == "煮飯"


def test_association_merges_what_is_nearly_always_implied():
    table = raw(*[["代數", "數學"]] * 40, *[["數學"]] * 10, *[["詩"]] * 5)
    found = mapped(table)
    assert found["代數"] == ("數學", "association")
    assert found["數學"] == ("數學", "unchanged")
    assert mapped(table, support=41)["代數"] == ("代數", "unchanged")


def test_tags_that_imply_each_other_become_one():
    found = mapped(raw(*[["甲乙", "丙丁"]] * 40))
    assert {final for final, _ in found.values()} in ({"甲乙"}, {"丙丁"})


def test_edits_by_a_person_outlive_the_next_run():
    table = raw(*[["翻譯"]] * 3, *[["翻譯類"]] * 2, *[["詩"]] * 3, ["罕見"])
    first = build_tag_map(table)
    edits = {"翻譯": "語言轉換", "詩": None, "罕見": "罕見"}
    by_hand = first.with_columns(
        final=pl.struct("raw", "final").map_elements(
            lambda row: edits.get(row["raw"], row["final"]), return_dtype=pl.String
        )
    )
    again = TAG_MAP.validate(build_tag_map(table, edited=by_hand))
    third = build_tag_map(table, edited=again)
    for now in (again, third):
        assert dict(now.select("raw", "final").iter_rows()) == {
            "翻譯": "語言轉換",
            "翻譯類": "語言轉換",
            "詩": None,
            "罕見": "罕見",
        }
    assert again.equals(third)
    row = first.row(0, named=True)
    assert row["id"] == content_id("tag map", row["raw"], row["final"], row["step"])


def test_apply():
    table = raw(["翻譯類", "詩", "翻譯"], ["怪"])
    tag_map = TAG_MAP.frame(
        {"id": name, "raw": name, "final": final, "step": "rule", "count": 1}
        for name, final in {"翻譯類": "翻譯", "翻譯": "翻譯", "詩": "詩", "怪": None}.items()
    )
    one, other = TAGS.validate(apply_tag_map(table, tag_map, "t")).to_dicts()
    assert (one["tags"], one["complexity"], one["tagger"]) == (["翻譯", "詩"], 2, "t")
    assert (other["tags"], other["complexity"], other["raw_tags"]) == ([], 0, ["怪"])


def test_no_tags_at_all():
    assert mapped(raw()) == {}
    assert apply_tag_map(raw([]), TAG_MAP.frame(), "t")["complexity"].to_list() == [0]
