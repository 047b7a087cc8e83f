import json
from itertools import permutations
from typing import get_args

import pytest

from kyara_kedro.text.leaks import LeakReport, Policy, guarded
from kyara_kedro.text.taiwan import to_taiwan

CLEAN = "里長了解干擾的來源。"
MIXED = "臺灣里長說这个软件很好，他還用鼠標。"


@pytest.mark.parametrize("policy", get_args(Policy))
def test_a_clean_text_passes_under_every_policy(policy: Policy) -> None:
    assert guarded(CLEAN, policy) == (CLEAN, (), (), None)


def test_policies() -> None:
    changed = to_taiwan(MIXED).changed
    assert guarded(MIXED, "convert") == ("臺灣里長說這個軟體很好，他還用滑鼠。", changed, (), None)
    assert guarded(MIXED, "report") == (MIXED, changed, (), None)
    text, found, reported, fault = guarded(MIXED, "drop")
    assert (text, found, reported) == (MIXED, changed, ())
    assert fault == (
        "simplified_chinese",
        "characters 5 to 9: 这个软件 -> 這個軟體, and 1 more",
    )


def test_what_is_left_alone_is_reported_and_less_is_left_of_what_a_model_wrote() -> None:
    text = "視頻網站的數據，可以用鼠標點選。"
    of_human = guarded(text, "convert")
    assert of_human.text == "視頻網站的數據，可以用滑鼠點選。"
    assert [change.before for change in of_human.reported] == ["視頻網站", "數據"]
    of_model = guarded(text, "convert", written_by_model=True)
    assert of_model.text == "影音網站的數據，可以用滑鼠點選。"
    assert [change.before for change in of_model.reported] == ["數據"]
    assert guarded("視頻很長。", "drop", written_by_model=True).fault
    assert guarded("視頻很長。", "drop").fault is None


def test_a_long_span_is_cut_in_the_detail() -> None:
    fault = guarded("这个" * 100, "drop").fault
    assert fault is not None
    assert len(fault[1]) < 120
    assert "\n" not in fault[1]


def test_a_report_counts_by_who() -> None:
    report = LeakReport()
    report.add("老師", guarded(MIXED, "convert"), MIXED)
    report.add("老師", guarded(CLEAN, "drop"), CLEAN)
    report.add("a.txt", guarded("信息", "convert"), "信息")
    assert report.summary() == {
        "a.txt": {
            "texts": 1,
            "characters": 2,
            "texts_with_leaks": 0,
            "leaked_characters": 0,
            "spans": {},
            "examples": [],
            "reported": {"texts": 1, "spans": 1, "examples": ["信息 -> 資訊"]},
        },
        "老師": {
            "texts": 2,
            "characters": len(MIXED) + len(CLEAN),
            "texts_with_leaks": 1,
            "leaked_characters": 6,
            "spans": {"script": 1, "vocabulary": 1},
            "examples": ["这个软件 -> 這個軟體", "鼠標 -> 滑鼠"],
            "reported": {"texts": 0, "spans": 0, "examples": []},
        },
    }


def test_a_report_is_the_same_whichever_source_comes_first() -> None:
    texts = {"甲": MIXED, "乙": CLEAN, "丙": "“这”"}
    written = set()
    for order in permutations(texts):
        report = LeakReport()
        for who in order:
            report.add(who, guarded(texts[who], "report"), texts[who])
        written.add(json.dumps(report.summary(), ensure_ascii=False))
    assert len(written) == 1


def test_a_report_shows_few_examples_each_once() -> None:
    report = LeakReport()
    for text in ["这个", "这个", *(f"这个{sign}" for sign in "甲乙丙丁戊己")]:
        report.add("我", guarded(text, "report"), text)
    examples = report.summary()["我"]["examples"]
    assert examples[:2] == ["这个 -> 這個", "这个甲 -> 這個甲"]
    assert len(examples) == 5
