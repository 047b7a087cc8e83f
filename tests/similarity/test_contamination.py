from itertools import pairwise

import opencc
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.records import CONTAMINATION
from kyara_kedro.similarity.contamination import (
    ContaminationIndex,
    ContaminationOptions,
    find_contamination,
)

LONG = "臺灣最高的山峰是玉山，請問玉山主峰的海拔高度大約是多少公尺，並說明它位於哪一座國家公園？"
TRAIN = (
    "A train leaves the station at noon and travels 60 miles per hour, how far does it go by 5 pm?"
)
GENERIC = "下列敘述何者正確？"
RIVERS = (
    "濁水溪是臺灣最長的河川",
    "淡水河流經花蓮縣市區",
    "高屏溪在臺東縣出海",
    "大甲溪流入日月潭",
)
LAKES = ("日月潭是天然湖泊", "澄清湖位於臺北市", "曾文水庫位於嘉義縣", "鯉魚潭位於屏東縣")
FILLER = (
    "今天天氣很好，我們一起去公園散步。",
    "The committee will meet again on Thursday to discuss the budget.\n",
    "请把下面这段话翻译成英文，并保持原来的语气。",
    "她昨天買了三本書……還沒有時間讀完。",
    "Cafe\u0301 prices rose; the ﬁnal bill was ½ higher.",
)
simplify, to_taiwan = (opencc.OpenCC(name).convert for name in ("t2s", "s2tw"))


def widen(text):
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def item(question, choices=(), answer="", benchmark="exam", item_id=None):
    return {
        "benchmark": benchmark,
        "item_id": item_id or question[:6],
        "question": question,
        "choices": list(choices),
        "answer": answer,
    }


def table(items):
    schema = {
        "benchmark": pl.String,
        "item_id": pl.String,
        "question": pl.String,
        "choices": pl.List(pl.String),
        "answer": pl.String,
    }
    return pl.DataFrame(items, schema=schema)


def records(texts):
    schema = {"id": pl.String, "text": pl.String}
    return pl.DataFrame({"id": [f"r{n}" for n in range(len(texts))], "text": texts}, schema=schema)


def found(text, *items, **options):
    items = [asked if isinstance(asked, dict) else item(asked) for asked in items]
    options = ContaminationOptions(**options)
    hits = find_contamination(records([text]), table(items), options)
    for hit in CONTAMINATION.validate(hits).to_dicts():
        assert hit["evidence"] == text[hit["start"] : hit["end"]]
    return hits.to_dicts()


def test_verbatim_with_the_stretch_as_it_stands():
    text = f"使用者問：「{LONG}」我來回答。"
    (hit,) = found(text, LONG)
    assert (hit["record_id"], hit["benchmark"], hit["item_id"]) == ("r0", "exam", LONG[:6])
    assert (hit["part"], hit["coverage"]) == ("question", 1.0)
    assert hit["start"] == text.index(LONG)
    assert hit["evidence"] == LONG.rstrip("？")


@pytest.mark.parametrize("change", [simplify, to_taiwan, widen, str.upper, str.lower])
@pytest.mark.parametrize("asked", [LONG, TRAIN])
def test_script_width_and_case_do_not_matter(asked, change):
    (hit,) = found(f"Question:\n{change(asked)}\nAnswer:", asked)
    assert hit["coverage"] == 1.0
    assert hit["evidence"] in change(asked)


@pytest.mark.parametrize("asked", [LONG, TRAIN])
def test_one_character_edited_anywhere(asked):
    inner = range(1, len(asked) - 1)
    changed = [asked[:n] + "x" + asked[n + 1 :] for n in inner]
    changed += [asked[:n] + asked[n + 1 :] for n in inner]
    hits = find_contamination(records(changed), table([item(asked)]))
    assert hits["record_id"].n_unique() >= 0.92 * len(changed)


@pytest.mark.parametrize("asked", [LONG, TRAIN])
def test_the_first_two_thirds(asked):
    part = asked[: len(asked) * 2 // 3]
    assert found(f"好的。\n{part}", asked)
    assert found(f"{part}\n好的。", asked)
    assert not found(f"{asked[: len(asked) // 3]}\n好的。", asked)


PARAGRAPH = (
    "電荷守恆定律是物理學的基本定律，在一七四七年由富蘭克林在費城的實驗中首先提出，後來得到證實。"
)
ASKED = "電荷守恆定律在一七四七年由哪一位科學家在費城的實驗中首先提出？"


def test_a_document_that_teaches_the_answer_is_no_leak():
    asked = item("電荷守恆定律是物理學的基本定律，在一七四七年由誰提出？", answer="富蘭克林")
    assert not found(PARAGRAPH, asked)
    assert not found(PARAGRAPH, item(ASKED, answer="富蘭克林"), item(ASKED))
    assert found(f"{PARAGRAPH}\n{ASKED}富蘭克林。", item(ASKED, answer="富蘭克林"))


def test_a_question_word_of_another_sentence_does_not_make_a_question():
    asked = "嘉義市至1982年升格為省轄市為止，共計舉行了九屆的縣轄市長選舉，發生什麼情況十分罕見？"
    told = "嘉義市至1982年升格為省轄市為止，共計舉行了九屆的縣轄市長選舉。澳大利亞什麼時候有過？"
    assert not found(told, item(asked, answer="連選連任"))
    assert not found(told.replace("？", "。"), asked)


def test_reading_comprehension_is_its_question_and_not_its_paragraph():
    asked = item(f"{PARAGRAPH}\n\n{ASKED}", answer="富蘭克林")
    assert not found(PARAGRAPH, asked)
    assert found(ASKED, asked)


def test_other_numbers_make_another_question():
    assert not found(TRAIN.replace("60", "45").replace("5 pm", "9 pm"), TRAIN)
    assert found(TRAIN.replace("60", "45"), TRAIN)


def test_another_question_about_the_same_is_none():
    one = "印第安納大學的凱萊商學院創建於哪一年，創辦人又是誰？"
    other = "印第安納大學的凱萊商學院在全美排名第幾，學生人數有多少？"
    assert found(other, one, other) == found(other, other)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (GENERIC, ()),
        (f"{GENERIC}\n甲、太陽從西邊升起\n乙、一年有十三個月", ()),
        (f"{GENERIC}\n(1){RIVERS[0]} (2){RIVERS[1]} (3){RIVERS[2]}", ("rivers",)),
        (f"{GENERIC}{RIVERS[0]}。", ("rivers",)),
        (f"請從選項中選出：{'、'.join(RIVERS)}。哪一項和地理有關？", ()),
        (f"{GENERIC}\n{LAKES[0]}\n{LAKES[3]}\n答案：{LAKES[0]}", ("lakes",)),
    ],
)
def test_a_bare_stem_needs_its_options_or_answer(text, flags):
    asked = [
        item(GENERIC, RIVERS, "A", item_id="rivers"),
        item(GENERIC, LAKES, LAKES[0], item_id="lakes"),
    ]
    hits = found(text, *asked)
    assert tuple(hit["item_id"] for hit in hits) == flags
    assert all("+" in hit["part"] for hit in hits)


def test_inline_options_are_not_the_stem():
    options = "(A)增加油酥之比例(B)加塔塔粉(C)延長鬆弛時間(D)縮短鬆弛時間"
    asked = f"32. 蘿蔔絲酥餅以下列何種方式製作，可使餅皮更酥鬆？{options}"
    assert not found(f"蔥油餅要怎麼做才會更有嚼勁而不油膩呢？{options}", asked)
    (hit,) = found(f"7. {asked[4:]}", asked)
    assert hit["part"] == "question+options"


@pytest.mark.parametrize(
    ("asked", "answer", "text", "flags"),
    [
        ("誰發明了電話", "", "請問誰發明了電話？謝謝", True),
        ("誰發明電話", "", "請問誰發明電話？謝謝", False),
        ("誰發明電話", "貝爾", "請問誰發明電話？是貝爾。", True),
        ("誰發明電話", "貝爾", "貝爾。請問誰發明電話？", False),
        ("誰發明了電話", "", "誰發明了手機電話", False),
        ("？！", "", "任何文字？！", False),
        ("not ( True ) and ( True ) is", "False", "> not (True) and (True) is", True),
        ("not ( True ) and ( True ) is", "", "so not true, and true is true", False),
    ],
)
def test_short_questions_stand_as_a_whole(asked, answer, text, flags):
    assert bool(found(text, item(asked, answer=answer))) == flags


def test_a_word_alone_is_found_by_its_options():
    options = [
        "deposit bone and differentiate from mesenchymal cells",
        "resorb bone and differentiate from monocytes and macrophages",
    ]
    asked = item("Osteoclasts", options, options[1])
    (hit,) = found(f"Osteoclasts:\nA. {options[0]}\nB. {options[1]}", asked)
    assert hit["part"] == "question+options+answer"
    assert not found("Osteoclasts are cells that break down bone.", asked)


def test_boilerplate_of_many_questions_does_not_count():
    order = "請仔細閱讀以下題目，並從四個選項之中選出一個最適當的答案"
    asked = [f"{order}：{word}的首都在哪裡？" for word in ("法國", "德國", "日本", "韓國", "泰國")]
    assert not found(f"老師說：{order}，同學開始作答。", *asked)
    assert [hit["item_id"] for hit in found(asked[2], *map(numbered, range(5), asked))] == ["2"]
    shown = ContaminationIndex(table(map(item, asked))).boilerplate
    assert shown.row(0) == ("一 个 最 适 当 的", 5)
    assert shown["text"].is_unique().all()


def numbered(number, asked):
    return item(asked, item_id=str(number))


def test_long_questions_are_given_away_by_half():
    lines = [
        f"第{n}題 小明有{n + 2}顆{fruit}，吃掉一顆以後還有幾顆？"
        for n, fruit in enumerate("蘋橘梨桃柿棗")
    ]
    asked = "\n".join(lines)
    assert found("\n".join(lines[1:5]), asked)[0]["coverage"] > 0.5
    assert not found(lines[1], asked)
    assert not found("\n".join(lines[1:5]), asked, coverage=0.9)


def test_the_same_text_in_several_benchmarks_is_reported_for_each():
    asked = [
        item(LONG, benchmark="b", item_id="2"),
        item(simplify(LONG), benchmark="a", item_id="1"),
    ]
    assert [(hit["benchmark"], hit["item_id"]) for hit in found(LONG, *asked)] == [
        ("a", "1"),
        ("b", "2"),
    ]


def test_one_record_may_give_several_questions_away_each_once():
    other = "請問日月潭位於南投縣的哪一個鄉鎮，當地最知名的特產又是什麼東西呢？"
    asked = [item(LONG, item_id="0"), item(other, item_id="1")]
    hits = found(f"{other}\n{LONG[:30]}\n{LONG}\n{LONG}", *asked)
    assert [hit["item_id"] for hit in hits] == ["0", "1"]
    assert hits[0]["coverage"] == 1.0
    assert hits[0]["start"] == len(f"{other}\n{LONG[:30]}\n")


def test_nothing_to_look_for_or_in():
    assert not found("文字")
    assert not found("", LONG)
    assert not find_contamination([], table([item(LONG)])).height
    assert not ContaminationIndex(table([])).boilerplate.height


fillers = st.lists(st.sampled_from(FILLER), max_size=6).map("".join)


@settings(deadline=None, max_examples=60)
@given(
    fillers,
    fillers,
    st.sampled_from([LONG, TRAIN]),
    st.sampled_from([str, simplify, widen, str.upper]),
)
def test_an_inserted_leak_is_found_wherever_it_stands(before, after, asked, change):
    (hit,) = found(f"{before}\n{change(asked)}\n{after}", asked)
    assert hit["coverage"] == 1.0
    assert hit["start"] == len(before) + 1


@settings(deadline=None, max_examples=60)
@given(fillers)
def test_an_unrelated_text_never_counts(text):
    assert not found(text, LONG, TRAIN, item(GENERIC, RIVERS, "A"))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from([*FILLER, LONG, TRAIN, LONG + TRAIN, ""]), max_size=12),
    st.lists(st.integers(0, 12), max_size=3),
)
def test_how_the_rows_are_cut_does_not_matter(texts, cuts):
    rows, asked = records(texts), table([item(LONG), item(TRAIN)])
    bounds = [0, *sorted(min(cut, len(texts)) for cut in cuts), len(texts)]
    parts = [rows[a:b] for a, b in pairwise(bounds)]
    assert find_contamination(parts, asked).equals(find_contamination(rows, asked))
