"""Wikitext becomes what a reader in Taiwan sees, whatever its author typed, in linear time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.pipelines.ingest.readers.wikitext import plain_text

from support import bounded_time


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'''玉山'''是''最高峰''。", "玉山是最高峰。"),
        (
            "[[臺灣]]的[[高山|最高峰]]與[[玉山#地質|地質]]、[[玉山#地質]]。",
            "臺灣的最高峰與地質、玉山。",
        ),
        ("[[:Category:山]]與[[en:Yushan]][[zh-yue:玉山]]完", "Category:山與完"),
        ("[[File:a.jpg|thumb|從[[塔塔加]]看{{small|玉山}}]]文", "文"),
        ("[[檔案:a.jpg|縮圖]][[文件:b.png]][[Image:c]][[分類:山]]文", "文"),
        ("見[https://x.org 網站]、[https://x.org]與https://x.org。", "見網站、與https://x.org。"),
        # Templates, tables, parameters.
        ("{{Infobox|a={{b|{{c}}}}|d=[[e]]}}文", "文"),
        ("{{le|某人|Someone}}、{{tsl|en|Jade|翡翠}}、{{link-en|甲|A}}", "某人、翡翠、甲"),
        ("{{lang|ja|富士山}}與{{lang-en|Fuji}}，{{nowrap|三千米}}", "富士山與Fuji，三千米"),
        ("高{{formatnum:3952}}公尺{{{1|參數}}}", "高3952公尺"),
        ("玉山（{{bd|1900年}}，{{lang-en|Jade}}，）高（{{x}}）", "玉山（Jade）高"),
        ('前\n{| class="a"\n|-\n| 甲 || {{b}}\n{|\n| 內\n|}\n|}\n後', "前\n\n後"),
        ("{{開了沒關的文字[[連結]]", "開了沒關的文字連結"),
        ("關了沒開}}的]]文字|}", "關了沒開的文字|}"),
        ("{{a [[b}} c]] d", "c d"),
        # Variants.
        ("-{zh-tw:軟體; zh-cn:软件}-", "軟體"),
        ("-{zh-hans:软件;zh-hant:軟體;}-", "軟體"),
        ("-{zh-cn:软件;zh-sg:软体}-", "软件"),
        ("-{A|zh-tw:雪山; zh-cn:雪峰}-與-{H|zh-tw:甲;zh-cn:乙}--{T|zh-tw:題}-", "雪山與"),
        ("-{R|干}-與-{于}-，1990-{{small|95}}", "干與于，1990-95"),
        ("-{zh-tw:[[雪山|雪]];zh-cn:山}-", "雪"),
        ("-{巨集=>zh-tw:巨集;宏=>zh-cn:宏}-", "巨集"),
        # Extensions.
        ('甲<ref name="a/b">{{cite}}</ref>乙<ref name=c />丙<references/>', "甲乙丙"),
        ("甲<!-- 藏 -->乙<!-- 沒關", "甲乙"),
        ("<math>E=mc^2</math>與<nowiki>[[原樣]]</nowiki>", "$E=mc^2$與[[原樣]]"),
        ('<syntaxhighlight lang="py">a = {{b}}\n</syntaxhighlight>', "```\na = {{b}}\n```"),
        ("<gallery>\nFile:a.jpg|甲\n</gallery>文", "文"),
        ("甲<br/>乙<sub>2</sub><span style='x'>丙</span>&nbsp;&lt;丁", "甲\n乙2丙\xa0<丁"),
        ("__NOTOC__文__目錄__", "文"),
        # Lists and headings.
        ("* 甲\n** 乙\n# 丙\n; 名\n: 義", "- 甲\n- 乙\n- 丙\n名\n義"),
        ("引\n== 歷史 ==\n=== 清代 ===\n文", "引\n\n## 歷史\n\n### 清代\n\n文"),
        ("== 空 ==\n== 歷史 ==\n文\n=== 也空 ===\n", "## 歷史\n\n文"),
        ("文\n== 參考資料 ==\n* 書\n=== 子 ===\n* 書\n== 後 ==\n再", "文\n\n## 後\n\n再"),
        ("文\n== External links ==\n* x", "文"),
    ],
)
def test_wikitext_is_read_as_it_is_shown(source: str, expected: str) -> None:
    assert plain_text(source) == expected


HOSTILE = (
    *("{{" * 50_000, "[[" * 50_000, "-{" * 50_000, "<ref>" * 50_000, "<!--" * 50_000),
    *("{|\n" * 50_000, "[http://" * 50_000, "<a " * 50_000, "__" * 100_000, "{{{" * 50_000),
    *("'" * 200_000, "=" * 100_000 + "x", "（ ，" * 50_000, "\n;" * 50_000, "&" * 100_000),
    "-{" * 50_000 + "x" * 50_000 + "}-" * 50_000,
    "[[" * 50_000 + "]]" * 50_000,
    "-{zh-tw:" * 30_000,
    "-{" + "zh-tw:a;" * 30_000 + "}-",
    "{{a|" * 30 + "a=b|" * 30_000 + "}}" * 30,
    "<nowiki>a</nowiki>" * 20_000,
)


def test_hostile_pages_take_no_longer_than_others() -> None:
    for source in HOSTILE:
        with bounded_time():
            plain_text(source)


@given(st.lists(st.sampled_from([*"{}[]|-<>='#*:;\n", "{{", "}}", "-{", "}-", "ref", "文", "\0"])))
def test_any_page_has_a_text(parts: list[str]) -> None:
    assert "\0" not in plain_text("".join(parts))
