import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.script import simplified_only
from kyara_kedro.text.taiwan import simplified_share, to_taiwan
from kyara_kedro.text.vocabulary import SEGMENTS, SURNAMES, TAIWAN


@pytest.mark.parametrize(
    "text",
    [
        "他了解干擾的來源。",
        "老么在里長家。",
        "鄉里的人在丑時起床。",
        "了解",
        "干擾",
        "老么",
        "里長",
        "鄉里",
        "丑時",
        "皇后和王后都姓范。",
        "Only English, no Chinese.",
        "",
    ],
)
def test_traditional_text_is_left_alone(text: str) -> None:
    assert to_taiwan(text) == (text, ())


@pytest.mark.parametrize(
    ("simplified", "taiwan"),
    [
        ("火药被发明了。", "火藥被發明了。"),
        ("参与制造飞机。", "參與製造飛機。"),
        ("范先生来了。", "范先生來了。"),
        ("范围和规范", "範圍和規範"),
        ("改变量子比特的状态。", "改變量子位元的狀態。"),
        ("这个变量是数组。", "這個變數是陣列。"),
        ("皇后后来头发白了。", "皇后後來頭髮白了。"),
        ("软件和网络信息", "軟體和網路資訊"),
        ("电视频道", "電視頻道"),
        ("简短信息", "簡短資訊"),
        ("这台计算机的算法", "這臺電腦的演算法"),
        ("我们了解程序正义。", "我們了解程序正義。"),
        ("他说：“‘干部’来了。”", "他說：「『幹部』來了。」"),
    ],
)
def test_simplified_text_is_converted(simplified: str, taiwan: str) -> None:
    assert to_taiwan(simplified).text == taiwan


def test_only_simplified_clauses_of_a_mixed_text_change() -> None:
    text = "臺灣的里長說：「这个软件很好，后来打印了。」他了解。"
    converted = to_taiwan(text)
    assert converted.text == "臺灣的里長說：「這個軟體很好，後來列印了。」他了解。"
    (change,) = converted.changed
    assert text[change.start : change.end] == change.before == "这个软件很好，后来打印了"
    assert change.after == "這個軟體很好，後來列印了"


def test_a_clause_without_evidence_follows_its_line() -> None:
    assert to_taiwan("后天（干部）来这里。").text == "後天（幹部）來這裡。"
    assert to_taiwan("後天（干部）來這裡。").text == "後天（干部）來這裡。"


def test_code_and_addresses_are_left_alone() -> None:
    text = "看 `这个` 和 https://a.tw/x?q=1 吧\n```\n这个\n```\n" + "这"
    assert to_taiwan(text).text == text[:-1] + "這"


@pytest.mark.parametrize(
    ("text", "share"), [("國國国", 1 / 3), ("里后", 0.0), ("", 0.0), ("国", 1.0)]
)
def test_simplified_share(text: str, share: float) -> None:
    assert simplified_share(text) == pytest.approx(share)


@given(st.text(st.sampled_from("这國国里后干了解么范先生发明改变量子。，“”‘’「」`\n a")))
def test_converting_twice_changes_nothing_more(text: str) -> None:
    once = to_taiwan(text).text
    assert to_taiwan(once).text == once


def test_vocabulary_has_simplified_keys_and_taiwanese_values() -> None:
    assert not SEGMENTS.keys() & TAIWAN.keys()
    values = "".join([*SEGMENTS.values(), *TAIWAN.values(), *SURNAMES.values()])
    assert not set(values) & simplified_only()


@pytest.mark.conformance
def test_published_traditional_text_is_left_alone(corpora: Path) -> None:
    with gzip.open(corpora / "drcd_dev_paragraphs.jsonl.gz", "rt", encoding="utf-8") as lines:
        paragraphs = [json.loads(line)["text"] for line in lines]
    assert [text for text in paragraphs if to_taiwan(text).changed] == []


@pytest.mark.conformance
def test_published_simplified_text_becomes_traditional(corpora: Path) -> None:
    with gzip.open(corpora / "ud_gsd_dev_hant_hans.jsonl.gz", "rt", encoding="utf-8") as lines:
        converted = [to_taiwan(json.loads(line)["zh_hans"]).text for line in lines]
    assert [text for text in converted if simplified_share(text)] == []
    assert [text for text in converted if to_taiwan(text).text != text] == []
