import json
from collections import Counter

import opencc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.constraint_wordings import VALUES, WORDINGS
from kyara_kedro.text.constraints import (
    Constraint,
    compose,
    contradict,
    draw,
    kinds,
    stated,
    values,
)
from kyara_kedro.text.fold import fold
from kyara_kedro.text.script import script_share

LANGUAGES = ("zh-TW", "zh-CN", "en")
ALL = [
    Constraint(kind, language, value)
    for language in LANGUAGES
    for kind in kinds(language)
    for value in values(kind, language)
]
SAID = {
    "zh-TW": ["德國學者韋格納在1912年提出大陸漂移說。", "他是氣象學家；", "DNA 與此無關"],
    "zh-CN": ["德国学者韦格纳在1912年提出大陆漂移说。", "他是气象学家；", "DNA 与此无关"],
    "en": [
        "Wegener proposed continental drift in 1912.",
        "He was a meteorologist",
        "He was German.",
    ],
}
NEUTRAL = {
    "zh-TW": ["", "你是圖書館的參考館員，為一般讀者解答與「板塊構造」有關的問題，語氣親切。"],
    "zh-CN": ["", "你是图书馆的参考馆员，为一般读者解答与“板块构造”有关的问题，语气亲切。"],
    "en": ["", 'You are a well-read librarian who helps pupils with "plates" in a plain tone.'],
}
KEPT_TOO = {
    "bullets": ("- 甲。\n\n- 乙。", "- 甲。\n  - 乙。\n- 丙。"),
    "numbered": ("1. 甲。\n\n2. 乙。",),
    "table": (
        "| 編號 | 內容 |\n|:-:|-|\n| 1 | 甲。 |",
        "|編號|內容|\n|--|--|\n|1|甲。|",
        "| **編號** | **內容** |\n| --- | --- |\n| 1 | 甲。 |",
    ),
    "json": ('```json\n{"回答": "甲。"}\n```', '```\n{\n  "回答": "甲。"\n}\n```'),
}
"""Other ways that the words of a constraint allow."""
KEPT = {
    "bullets": "- 甲。\n- 乙。",
    "numbered": "1. 甲。\n2. 乙。",
    "one_sentence": "甲；乙。",
    "one_per_line": "甲。\n乙！",
    "two_paragraphs": "甲。乙。\n\n丙。",
    "table": "| 編號 | 內容 |\n|---|:---|\n| 1 | 甲。 |",
    "json": '{"回答": "甲。"}',
    "greeting": "您好！甲。",
    "heading": "# 甲\n乙。",
    "title": "【甲】\n乙。",
    "closing": "甲。希望對您有幫助。",
    "at_most": "甲" * 80,
    "no_letters": "甲 1。",
    "bold": "甲**乙**。",
}
BROKEN = {
    "bullets": ("- 甲。", "說明：\n- 甲。\n- 乙。", "- 甲。\n乙。", "* 甲\n* 乙", "-甲\n-乙"),
    "numbered": (
        "1. 甲。",
        "1. 甲。\n3. 乙。",
        "1、甲。\n2、乙。",
        "2. 甲。\n3. 乙。",
        "1. 甲。\n\n乙。\n\n2. 丙。",
        "1. \n2. 乙",
    ),
    "one_sentence": ("甲。乙。", "甲\n乙。", "甲", "", "甲，乙"),
    "one_per_line": ("甲。乙。\n丙。", "甲。", "甲。\n\n乙。", "甲\n乙。"),
    "two_paragraphs": ("甲。\n乙。", "甲。\n\n乙。\n\n丙。", "甲。"),
    "table": (
        "| 編號 | 內容 |\n|---|---|",
        "| 內容 | 編號 |\n|---|---|\n| 1 | 甲 |",
        "| 編號 | 內容 |\n| 1 | 甲 |\n| 2 | 乙 |",
        "| 編號 | 內容 |\n|:|:|\n| 1 | 甲 |",
        "如下：\n| 編號 | 內容 |\n|---|---|\n| 1 | 甲 |",
        "| 編號 | 內容 |\n|---|---|\n| 1 | |",
        "| 編號 | 內容 | 註 |\n|---|---|---|\n| 1 | 甲 | 乙 |",
    ),
    "json": (
        '如下：\n```json\n{"回答": "甲"}\n```',
        '```json\n{"回答": "甲"}',
        '{"回答": "甲", "補充": "乙"}',
        '{"回答": "甲", "回答": "乙"}',
        '{"回答": 1}',
        '{"回答": " "}',
        '{"回答": {"甲": "乙"}}',
        '["回答"]',
        '{"回答": "甲"',
        '{"回答": ' + "[" * 100_000,
        '{"回答": ' + "9" * 5_000 + "}",
    ),
    "greeting": ("您好！", "甲。您好！", "您好，甲。"),
    "heading": ("# 甲", "#甲\n乙。", "## 甲\n乙。", "甲\n# 乙", "# 甲\n "),
    "title": ("【甲】", "【甲】乙。", "甲\n【乙】", "【id_1a2b3c4d】\n甲。", "【】\n甲。"),
    "closing": ("希望對您有幫助。", "甲。希望對您有幫助", "希望對您有幫助。甲。"),
    "at_most": ("甲" * 81, " "),
    "no_letters": ("甲A。", "甲ｂ。", ""),
    "bold": ("甲。", "**甲**", "**甲**乙**丙**。", "甲** 乙 **。", "甲*乙*。", "甲****。"),
}


def first(kind: str, language: str = "zh-TW") -> Constraint:
    return Constraint(kind, language, values(kind, language)[0])


def put(kind: str, said: list[str], title: str = "", key: str = "") -> str | None:
    return compose((first(kind),), said, title, key)


@pytest.mark.parametrize(
    ("kind", "system"),
    [
        ("numbered", "請以依序編號的清單作答，每行都有數字編號"),
        ("numbered", "請用數字編號列出各點，由 1. 起。"),
        ("json", "請只輸出 JSON，鍵為「回答」。"),
    ],
)
def test_a_constraint_may_be_stated_in_other_words(kind: str, system: str) -> None:
    assert first(kind).is_named(system)


def test_there_are_enough_of_them_with_words_in_every_language() -> None:
    assert set(WORDINGS) == set(kinds("zh-TW")) == set(kinds("zh-CN")) == KEPT.keys()
    assert len(kinds("zh-TW")) >= 12
    assert len(kinds("en")) >= 10
    for kind in VALUES:
        folded = [[fold(value) for value in VALUES[kind][code]] for code in ("zh-TW", "zh-CN")]
        assert folded[0] == folded[1]


@pytest.mark.parametrize("constraint", ALL, ids=lambda one: one.id)
def test_words_are_distinct_name_the_value_and_are_read_back(constraint: Constraint) -> None:
    assert len(set(constraint.wordings)) >= 3
    assert {constraint.wording(str(seed)) for seed in range(40)} == set(constraint.wordings)
    for wording in constraint.wordings:
        assert constraint.is_named(wording)
        assert not any(map(constraint.is_named, NEUTRAL[constraint.language]))
        assert stated(f"你是導覽員。{wording}謝謝。", constraint.language) == (constraint,)
        shares = script_share(wording)
        assert shares.simplified * (constraint.language == "zh-TW") == 0
        assert shares.traditional * (constraint.language == "zh-CN") == 0
        assert constraint.language != "zh-CN" or not set("「」") & set(wording)


def test_simplified_words_are_read_in_taiwans_letters_too() -> None:
    convert = opencc.OpenCC("s2tw").convert
    for constraint in ALL:
        if constraint.language == "zh-CN":
            for wording in constraint.wordings:
                (found,) = stated(convert(wording), "zh-TW")
                assert found.kind == constraint.kind
                assert fold(found.value) == fold(constraint.value)


@pytest.mark.parametrize("kind", KEPT)
def test_what_keeps_a_constraint_and_what_breaks_it(kind: str) -> None:
    assert first(kind).holds(KEPT[kind])
    assert first(kind).holds(f"\n {KEPT[kind]} \n")
    assert all(map(first(kind).holds, KEPT_TOO.get(kind, ())))
    assert [answer for answer in BROKEN[kind] if first(kind).holds(answer)] == []


def test_an_english_sentence_may_hold_an_abbreviation() -> None:
    assert first("one_sentence", "en").holds("Dr. Lee was born on 3.5.1950, in Taipei.")
    assert not first("one_sentence", "en").holds("Dr. Lee left. He came back.")


@pytest.mark.parametrize("constraint", ALL, ids=lambda one: one.id)
def test_plain_sentences_can_be_put_so_that_they_keep_each(constraint: Constraint) -> None:
    said = SAID[constraint.language]
    answer = compose((constraint,), said, "板塊構造 DNA", "1912")
    assert answer is not None
    assert constraint.holds(answer)
    assert "1912" in answer


def test_key_point_and_title_are_those_given() -> None:
    said = SAID["zh-TW"]
    assert put("bold", said[:2], key="氣象學家") == f"{said[0]}他是**氣象學家**。"
    assert put("bold", ["甲，乙。"], key="丙") == "**甲**，乙。"
    assert put("title", said[:1], title="板塊【構造】") == f"【板塊 構造】\n{said[0]}"
    table = compose((Constraint("table", "zh-TW", "序號|說明"),), ["甲|乙。"])
    assert table == "| 序號 | 說明 |\n| --- | --- |\n| 1 | 甲｜乙。 |"
    two = compose((Constraint("json", "zh-TW", "回答|補充"),), ['甲"。', "乙。", "丙。"])
    assert json.loads(two or "") == {"回答": '甲"。', "補充": "乙。丙。"}


def test_what_cannot_be_kept_is_not_pretended() -> None:
    assert put("bullets", ["只有一句。"]) is None
    assert put("no_letters", ["DNA 是什麼。"]) is None
    assert put("at_most", ["字" * 80 + "。", "短。"]) is None
    assert put("greeting", []) is None
    assert put("greeting", [" "]) is None
    with pytest.raises(ValueError, match="no constraints"):
        compose((), ["甲。"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_draws_are_fixed_by_the_seed_fit_together_and_cover_everything(language: str) -> None:
    drawn = [draw(f"row{number}", language) for number in range(600)]
    assert drawn == [draw(f"row{number}", language) for number in range(600)]
    assert {len(found) for found in drawn} == {1, 2}
    assert 0.4 < sum(len(found) == 2 for found in drawn) / len(drawn) < 0.6
    counts = Counter(one for found in drawn for one in found)
    assert set(counts) == {one for one in ALL if one.language == language}
    for found in drawn:
        assert len(found) == 1 or not contradict(found[0].kind, found[1].kind)
        system = "你是助理。" + "".join(one.wording("seed") for one in found)
        assert stated(system, language) == found
        answer = compose(found, SAID[language], "Drift", "1912")
        assert answer is not None, [one.id for one in found]
        assert all(one.holds(answer) for one in found)


@pytest.mark.parametrize(
    ("kind", "language", "value"),
    [
        ("", "zh-TW", ""),
        ("sing", "zh-TW", ""),
        ("bold", "ja", ""),
        ("title", "en", ""),
        ("at_most", "zh-TW", "79"),
        ("bold", "zh-TW", "1"),
    ],
)
def test_a_constraint_that_is_none_is_refused(kind: str, language: str, value: str) -> None:
    with pytest.raises(ValueError, match="there are"):
        Constraint(kind, language, value)


def test_a_language_without_constraints_is_refused() -> None:
    with pytest.raises(ValueError, match="'ja'"):
        draw("row", "ja")


PIECES = st.lists(
    st.sampled_from(
        [*"甲乙，。；！：「」【】|*#- \n1.", "- ", "1. ", "**", "# ", "A", "DNA", '"', "\\", "。」"]
    ),
    max_size=12,
).map("".join)
DRAWN = st.builds(draw, st.text(max_size=4), st.sampled_from(LANGUAGES))


@given(DRAWN, st.lists(PIECES | st.text(max_size=20), max_size=4), PIECES, PIECES)
def test_whatever_is_put_keeps_its_constraints(
    constraints: tuple[Constraint, ...], said: list[str], title: str, key: str
) -> None:
    answer = compose(constraints, said, title, key)
    assert answer is None or all(one.holds(answer) for one in constraints)


WORDS = st.text(alphabet="茶樹原產雲南臺灣山水一二三", min_size=1, max_size=18)


@given(
    st.sampled_from([one for one in ALL if one.language == "zh-TW"]),
    st.lists(WORDS, min_size=2, max_size=4),
    WORDS,
)
def test_plain_chinese_sentences_always_can(
    constraint: Constraint, said: list[str], title: str
) -> None:
    answer = compose((constraint,), [f"{one}。" for one in said], title, said[0])
    assert answer is not None
    assert constraint.holds(answer)
    assert said[0] in answer


@given(st.sampled_from(ALL), st.text(max_size=60))
def test_any_text_is_judged_without_an_error(constraint: Constraint, answer: str) -> None:
    assert constraint.holds(answer) in (True, False)
