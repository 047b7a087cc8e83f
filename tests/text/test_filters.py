import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kyara_kedro.text.filters import FilterOptions, boilerplate, quality_fault
from kyara_kedro.text.guard import remove_spans
from kyara_kedro.text.normalise import normalise

OPTIONS = FilterOptions()
SAMPLE = Path(__file__).parents[2] / "data" / "01_raw" / "sample" / "documents"
GOOD = (
    "玉山是臺灣最高的山峰，海拔三千九百五十二公尺，位在南投縣、嘉義縣與高雄市的交界。"
    "清晨的主峰常有雲海，冬季的積雪可以維持到隔年三月。登山的人多半從塔塔加出發，"
    "在排雲山莊過夜，第二天凌晨攻頂看日出。玉山國家公園成立於1985年，保護許多高山動植物。"
)


def reason(text: str, options: FilterOptions = OPTIONS) -> str | None:
    fault = quality_fault(text, options)
    return fault and fault[0]


def shuffled(letters: str, length: int) -> str:
    return "".join(random.Random(length).choices(letters, k=length))


BAD = {
    "too_short": "茶。",
    "few_distinct_chars": "哈哈哈哈呵呵" * 20,
    "mojibake": GOOD.encode().decode("latin-1"),
    "rare_ideographs": GOOD.encode().decode("gbk", "ignore"),
    "many_symbols": shuffled("★☆◆◇■□●○▲△▼▽※§→←↑↓＋－甲乙丙丁戊", 200),
    "many_digits": "\n".join(f"{n * 7919},{n * 104729},價格，數量，備註" for n in range(20)),
    "few_letters": "；".join(f"甲{n % 97}乙，（{n % 89}）丙丁！" for n in range(40)),
    "mixed_scripts": shuffled("абвгдежאבגדהוαβγδεзиклμνабтгגนดมท", 200),
    "repeated_lines": f"{GOOD}\n相同的一行廣告文字在這裡。\n" * 2 + GOOD[:60],
    "repeated_runs": (GOOD[:50] + "而且，" + GOOD[3:48] + "所以，" + GOOD[2:49]) + GOOD[50:90],
    "frequent_run": "".join(f"優惠商品{letter}" for letter in GOOD[:60] if letter not in "，。、"),
    "open_lines": "\n".join(GOOD[n : n + 9] for n in range(0, 120, 9)).replace("。", "的"),
}  # fmt: skip


@pytest.mark.parametrize("expected", BAD)
def test_every_kind_of_bad_text_falls_by_its_own_rule(expected: str) -> None:
    fault = quality_fault(BAD[expected], OPTIONS)
    assert fault is not None
    assert fault[0] == expected
    assert any(letter.isdigit() for letter in fault[1])


def test_good_text_passes() -> None:
    assert quality_fault(GOOD, OPTIONS) is None
    assert quality_fault(GOOD.encode().decode(), OPTIONS) is None
    english = "The café on the corner, “Chez Zoë”, opened in 1999. It has served coffee ever since."
    assert quality_fault(english, OPTIONS) is None
    assert reason("α 粒子由 2 個質子與 2 個中子組成；β 粒子是電子，γ 射線是高能的電磁波。") is None


def test_rules_can_be_switched_off_and_are_checked() -> None:
    off = FilterOptions.model_validate(dict.fromkeys(FilterOptions.model_fields))
    assert all(quality_fault(text, off) is None for text in [*BAD.values(), ""])
    assert reason(GOOD, FilterOptions(max_chars=50)) == "too_long"
    assert reason("", FilterOptions(min_chars=1)) == "too_short"
    with pytest.raises(ValidationError):
        FilterOptions(symbol_share=1.5)


@given(st.text(max_size=200))
def test_any_text_gets_an_answer(text: str) -> None:
    for length in (1, 3):
        fault = quality_fault(text * length, FilterOptions(min_chars=None))
        assert fault is None or all(fault)


@pytest.mark.parametrize(
    "text",
    [
        normalise(GOOD.encode().decode("cp1252", "ignore")),
        normalise(GOOD.encode().decode("latin-1")),
        GOOD.encode("big5").decode("latin-1"),
        GOOD.encode("gbk", "ignore").decode("latin-1"),
        GOOD[:60] + "\ufffd\ufffd" + GOOD[60:],
        GOOD + "锟斤拷锟斤拷",
        "It isnâ€™t that far, she said, and itâ€™s only a dayâ€™s walk to the coast.",
    ],
)
def test_mojibake_of_every_origin(text: str) -> None:
    assert reason(text) == "mojibake"


def test_the_sample_is_good_but_for_what_was_planted() -> None:
    files = sorted(path for path in SAMPLE.rglob("*") if path.suffix in (".md", ".txt"))
    found = {
        path.stem: reason(normalise(path.read_bytes().decode("utf-8", "replace"))) for path in files
    }
    assert len(found) > 60
    assert {name: fault for name, fault in found.items() if fault} == {
        "broken": "mojibake",
        "tiny": "too_short",
    }
    assert not any(boilerplate(path.read_text(errors="replace")) for path in files)


@pytest.mark.conformance
def test_published_paragraphs_pass_untouched(corpora: Path) -> None:
    with gzip.open(corpora / "drcd_dev_paragraphs.jsonl.gz", "rt", encoding="utf-8") as lines:
        paragraphs = [json.loads(line)["text"] for line in lines]
    assert [text for text in paragraphs if quality_fault(text, OPTIONS)] == []
    assert [text for text in paragraphs if boilerplate(text)] == []


@pytest.mark.parametrize(
    "line",
    [
        "首頁 > 新聞 > 生活",
        "回首頁",
        "上一篇：臺北今天下雨",
        "下一篇",
        "上一頁 | 下一頁",
        "閱讀更多 »",
        "分享到：",
        "分享至臉書",
        "Share on Facebook",
        "Share this article",
        "點此訂閱電子報",
        "立即訂閱",
        "订阅我们",
        "版權所有 © 2020 某某公司",
        "Copyright © 2011-2024 Example Inc. All rights reserved.",
        "All Rights Reserved.",
        "版权所有，翻印必究",
        "某某日報版權所有，未經授權不得轉載",
        "未經許可，請勿轉載",
        "未經授權，不得轉載。",
        "轉載請註明出處",
        "本網站使用 Cookie 以提供更好的使用體驗，繼續瀏覽即表示您同意。",
        "We use cookies to improve your experience.",
        "Accept all cookies",
        "責任編輯：王小明",
        "（責任編輯：陳大同）",
        "記者李大華／台北報導",
        "〔記者李大華／台北報導〕",
        "延伸閱讀：某某新聞",
        "發布時間：2020-01-02 10:20",
        "瀏覽次數：1,234",
        "12 則留言",
        "Leave a comment",
        "第 3 頁，共 12 頁",
        "第3頁",
        "- 12 -",
        "Page 3 of 10",
        "維基百科，自由的百科全書",
        "重定向自臺北",
        "本條目需要補充更多來源。",
        "此條目需要擴充。",
        "本條目存在以下問題，請協助改善本條目或在討論頁針對議題發表看法。",
        "此條目翻譯品質不佳。",
        "您可以幫助維基百科擴充這個條目。",
        "跳至導覽 跳至搜尋",
        "[[Category:臺灣]]",
        "本頁面最後修訂於2020年1月1日 (星期三) 10:00。",
        "網站地圖 | 隱私權政策 | 聯絡我們",
    ],
)
def test_boilerplate_lines_are_found(line: str) -> None:
    text = f"玉山是臺灣最高峰。\n{line}\n海拔三千九百五十二公尺。"
    assert remove_spans(text, boilerplate(text)) == "玉山是臺灣最高峰。\n海拔三千九百五十二公尺。"


@pytest.mark.parametrize(
    "line",
    [
        "他在臉書上分享到這件事。",
        "上一篇文章談到了臺北的歷史。",
        "這本書的版權所有人是他的女兒。",
        "《版權所有》是一部電影。",
        "首頁設計得很好。",
        "第三頁的插圖是他畫的。",
        "責任編輯是王小明。",
        "維基百科是一個自由的百科全書計畫。",
        "Cookie 是網站存在瀏覽器裡的小型文字檔。",
        "他訂閱了三份報紙。",
        "本條目所稱的消費者，是指以消費為目的的人。",
        "記者會在台北舉行。",
        "參考文獻指出，這種植物原產於印度。",
        "- 12",
        "2020年1月2日",
        "目錄",
        "更多",
        "The company follows us.",
        "發表於《自然》期刊",
        "下一頁寫著他的名字。",
        "- 甲",
        "此條目收錄了臺灣的縣市。",
        "本章節介紹光合作用。",
        "本條目是關於臺灣的城市。",
    ],
)
def test_content_that_speaks_of_such_things_stays(line: str) -> None:
    assert boilerplate(f"{line}\n{line}") == []


def test_wikipedia_marks_and_closing_lists() -> None:
    text = (
        "臺北\n歷史[編輯]\n內文。\n## 參考文獻\n- 甲，2010。\n- 乙\n\n## 後記\n好。\n"
        "參考資料\n1. 王小明（2010）。書名。\n正文又開始了。\n== 外部連結 ==\n* 官方網站"
    )
    kept = "臺北\n歷史\n內文。\n\n## 後記\n好。\n正文又開始了。\n"
    assert remove_spans(text, boilerplate(text)) == kept
