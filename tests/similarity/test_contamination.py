import opencc
import polars as pl
import pytest

from kyara_kedro.records import BENCHMARK_QUESTION, CONTAMINATION
from kyara_kedro.similarity.contamination import ContaminationOptions, find_contamination

LONG = "臺灣最高的山峰是玉山，請問玉山主峰的海拔高度大約是多少公尺，並說明它位於哪一座國家公園？"


def questions(*texts):
    return BENCHMARK_QUESTION.frame(
        {
            "id": f"q{number}",
            "benchmark": "exam",
            "item_id": str(number),
            "kind": "open",
            "question": text,
            "choices": [],
            "answer": "答",
            "aliases": [],
            "stratum": "all",
            "source": "test",
            "licence": "CC0-1.0",
            "language": "zh",
        }
        for number, text in enumerate(texts)
    )


def found(text, *asked, **options):
    table = find_contamination(
        pl.DataFrame({"id": ["r"], "text": [text]}),
        questions(*asked),
        ContaminationOptions(**options),
    )
    return CONTAMINATION.validate(table).to_dicts()


def test_verbatim_with_literal_evidence():
    (hit,) = found(f"使用者問：「{LONG}」我來回答。", LONG)
    assert (hit["record_id"], hit["benchmark"], hit["item_id"]) == ("r", "exam", "0")
    assert hit["coverage"] == 1.0
    assert hit["evidence"] == LONG.rstrip("？")


def test_simplified_and_full_width_copies_are_found_and_quoted_as_they_stand():
    simplified = opencc.OpenCC("t2s").convert(LONG)
    (hit,) = found("问：" + simplified, LONG)
    assert hit["evidence"] in simplified
    asked = "A train leaves the station at noon and travels 60 miles per hour, how far does it go?"
    (hit,) = found("ＱＡ " + asked.upper(), asked)
    assert hit["evidence"].isupper() or "60" in hit["evidence"]


def test_half_of_a_question_flags_and_less_does_not():
    assert found(LONG[: int(len(LONG) * 0.7)], LONG)
    assert not found(LONG[: int(len(LONG) * 0.4)], LONG)


@pytest.mark.parametrize(
    ("asked", "flags"), [("誰發明了電話", True), ("誰發明電話", False), ("", False)]
)
def test_short_questions_stand_as_a_whole_or_never_flag(asked, flags):
    if not asked:
        assert not found("任何文字", "？！")
        return
    assert bool(found(f"請問{asked}？謝謝", asked)) == flags
    assert not found("誰發明了手機電話", asked)


def test_boilerplate_of_many_questions_does_not_count():
    stem = "下列有關臺灣自然環境的敘述何者正確請選出一個最適當的答案"
    asked = [f"{stem}：{word}" for word in "甲乙丙丁戊己庚辛壬癸子丑"]
    assert not found(f"老師說：{stem}，同學開始作答。", *asked)
    assert found(f"老師說：{stem}，同學開始作答。", asked[0])


def test_one_record_may_leak_several_questions_and_order_is_stable():
    other = "請問日月潭位於南投縣的哪一個鄉鎮，當地最知名的特產又是什麼東西呢？"
    hits = found(other + LONG, LONG, other)
    assert [hit["item_id"] for hit in hits] == ["0", "1"]


def test_nothing_to_look_for():
    assert not found("文字")
    assert not find_contamination(
        pl.DataFrame(schema={"id": pl.String, "text": pl.String}), questions(LONG)
    ).height
