import re
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest

from kyara_kedro.reporting.duplicates_page import (
    MARGIN_PAIR,
    Stretch,
    differences,
    duplicates_page,
    visible,
)

HOSTILE = (
    '</div></style><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7 * 7 }}\u202e\0\0'
)


class Page(HTMLParser):
    """Elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.text += data

    def classed(self, name: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.elements if name in (a.get("class") or "").split()]


def pair(
    number: int, first: str = "臺北的天氣很好", second: str = "臺北的天氣很熱", **changes: Any
) -> dict[str, Any]:
    return {
        "method": "lexical",
        "similarity": 0.72,
        "first_id": f"a{number}",
        "second_id": f"b{number}",
        "first_text": first,
        "second_text": second,
        "first_quality": 0.9,
        "second_quality": 0.5,
        "first_kept_id": None,
        "second_kept_id": f"a{number}",
        "group_id": f"a{number}",
        "group_size": 2,
        "group_pairs": 1,
        **changes,
    }


def page_of(*pairs: dict[str, Any], stored: int = 10) -> str:
    counts = {"removed": 7, "exact": 1, "lexical": 6, "semantic": 0, "groups": 5, "largest": 2}
    ladder = [
        {"method": "lexical", "threshold": 0.6, "chosen": False, **counts, "newly_removed": 1234},
        {"method": "lexical", "threshold": 0.7, "chosen": True, **counts, "newly_removed": 0},
    ]
    spread = {"method": "lexical", "low": [0.6, 0.8], "high": [0.8, 1.0], "pairs": [stored, 0]}
    return duplicates_page(
        pl.DataFrame(pairs, schema=dict(MARGIN_PAIR)),
        pl.DataFrame(ladder).with_columns(newly_kept=0),
        pl.DataFrame(spread),
        {"lexical": 0.7},
        records=4321,
        copies=1,
    )


@pytest.mark.parametrize(
    ("left", "right", "first", "second"),
    [
        (
            "臺北的天氣很好",
            "臺北的天氣很熱",
            [("same", "臺北的天氣很"), ("differs", "好")],
            [("same", "臺北的天氣很"), ("differs", "熱")],
        ),
        (
            "The mitochondria make energy",
            "The nuclei make energy",
            [("same", "The "), ("differs", "mitochondria"), ("same", " make energy")],
            [("same", "The "), ("differs", "nuclei"), ("same", " make energy")],
        ),
        (
            "臺灣的電腦",
            "台湾的電腦",
            [("variant", "臺灣"), ("same", "的電腦")],
            [("variant", "台湾"), ("same", "的電腦")],
        ),
        (
            "他很好",
            "他真的很好",
            [("same", "他"), ("differs", ""), ("same", "很好")],
            [("same", "他"), ("differs", "真的"), ("same", "很好")],
        ),
        ("一樣", "一樣", [("same", "一樣")], [("same", "一樣")]),
        ("", "有字", [("differs", "")], [("differs", "有字")]),
    ],
)
def test_differences_are_told_by_character_and_word(
    left: str, right: str, first: list[Stretch], second: list[Stretch]
) -> None:
    assert differences(left, right) == (first, second)


def test_a_single_equal_character_between_long_changes_is_chance() -> None:
    left, _ = differences("春眠不覺的曉處處聞", "床前明月的光疑是地")
    assert left == [("differs", "春眠不覺的曉處處聞")]


def test_long_equal_stretches_are_left_out_and_long_texts_cut() -> None:
    same = "相同的內容" * 100
    left, right = differences(same + "甲" + same, same + "乙" + same)
    assert [stretch.kind for stretch in left] == [
        "same",
        "gap",
        "same",
        "differs",
        *("same", "gap", "same"),
    ]
    assert left[1].text == "420"
    assert right[3] == ("differs", "乙")
    left, right = differences("".join(map(chr, range(0x4E00, 0x8E00))) * 2, "甲" * 50_000)
    for text, length in ((left, 0x8000), (right, 50_000)):
        told = sum(int(s.text) if s.kind in ("gap", "cut") else len(s.text) for s in text)
        assert told == length
        assert sum(len(s.text) for s in text) < 2_000


def test_what_cannot_be_seen_is_written_out() -> None:
    assert visible("甲\u202e乙\0\0\0\n\t👩\u200d🔬") == "甲⟨U+202E⟩乙⟨U+0000×3⟩\n\t👩\u200d🔬"


def test_texts_never_become_markup() -> None:
    html = page_of(pair(0, HOSTILE, HOSTILE + "甲", first_id=HOSTILE, group_id=HOSTILE))
    page = Page(html)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1
    assert not {"img", "link", "iframe"} & set(tags)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "⟨U+202E⟩⟨U+0000×2⟩" in page.text
    assert not re.search("[\x00\u202e]", html)


def test_the_page_needs_nothing_but_itself_and_runs_its_own_script_alone() -> None:
    page = Page(page_of(pair(0)))
    assert not [a for _, a in page.elements if {"src", "href"} & set(a)]
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv"))
    assert re.fullmatch(
        r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/]{43}='",
        policy or "",
    )


def test_a_pair_tells_both_texts_who_stays_and_why() -> None:
    page = Page(page_of(pair(0)))
    assert [a["data-similarity"] for a in page.classed("pair")] == ["0.72"]
    assert len(page.classed("side")) == 2
    assert len(page.classed("goes")) == 1
    for words in (
        "品質較高 0.9 > 0.5",
        "higher quality",
        "留下",
        "stays",
        "移除",
        "goes",
        "a0",
        "b0",
    ):
        assert words in page.text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"second_quality": None}, "品質較高 0.9 > –"),
        ({"first_quality": 0.5, "first": "臺北的天氣真好啊"}, "較長 8 > 7"),
        ({"first_quality": None, "second_quality": None}, "smaller id"),
    ],
)
def test_the_reason_is_quality_then_length_then_id(changes: dict[str, Any], reason: str) -> None:
    assert reason in Page(page_of(pair(0, **changes))).text


def test_a_record_that_goes_for_a_third_one_names_it() -> None:
    assert "由 c7 代表 which stands for it" in Page(page_of(pair(0, second_kept_id="c7"))).text


def test_counts_and_ladder_stand_in_both_languages() -> None:
    text = Page(page_of(pair(0), stored=30)).text
    for words in ("4,321", "records compared", "已比對的資料", "+1,234", "選用", "chosen"):
        assert words in text
    assert "顯示 1 對；另有 29 對未顯示" in text
    assert "1 pairs are shown, 29 others are not" in text


def test_pairs_of_a_group_stand_together() -> None:
    pairs = [pair(0, group_id="g"), pair(1), pair(2, group_id="g", group_pairs=3)]
    page = Page(page_of(*pairs))
    assert len(page.classed("group")) == 2
    assert len(page.classed("pair")) == 3


def test_a_page_of_endless_texts_stays_small() -> None:
    text = "".join(f"{n}\u202e\u202d<&" for n in range(5_000))
    html = page_of(*(pair(n, text, text[::-1]) for n in range(200)))
    assert 1_000_000 < len(html.encode()) <= 3_000_000
    shown = html.count("data-similarity=")
    assert 0 < shown < 200
    assert f"顯示 {shown} 對" in html


def test_a_page_without_pairs_says_so() -> None:
    assert "顯示 0 對；另有 0 對未顯示" in Page(page_of(stored=0)).text


def test_the_page_is_the_same_every_time() -> None:
    assert page_of(pair(0), pair(1)) == page_of(pair(0), pair(1))
