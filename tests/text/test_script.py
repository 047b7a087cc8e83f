import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.records import LANGUAGES
from kyara_kedro.text.script import (
    ScriptCount,
    language_of,
    language_shares,
    language_spans,
    script_share,
    simplified_only,
    traditional_only,
)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("臺灣的讀者想知道這個問題。", "zh-Hant-TW"),
        ("台湾的读者想知道这个问题。", "zh-Hans-CN"),
        ("今天天气不错", "zh-Hans-CN"),
        ("今天天色不好", "zh"),
        ("里后干了台只面云丑范余", "zh"),
        ("請用 Python 寫一個 function 來 sort 這個 list of integers", "zh-Hant-TW"),
        ("これは日本語の文章です。漢字もあります。", "ja"),
        ("東京スカイツリー", "ja"),
        ("我愛の味道這家店很好吃", "zh-Hant-TW"),
        ("What is the capital of France?", "en"),
        ("The word 愛 means love in English and Chinese.", "en"),
        ("print(x)", "en"),
        ("Bonjour, comment ça va ? Je ne sais pas.", "other"),
        ("Das ist ein Test und nicht mehr.", "other"),
        ("Привет, мир", "other"),
        ("안녕하세요", "other"),
        ("123 + 4 = 127", "other"),
        ("", "other"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert language_of(text) == language
    assert language in LANGUAGES


def test_shared_characters_prove_nothing() -> None:
    assert script_share("里后干了台丑范余么只面云") == ScriptCount(0, 0, 12)
    assert script_share("國国 a，") == ScriptCount(1, 1, 0)


def test_no_character_proves_both_scripts() -> None:
    assert not simplified_only() & traditional_only()
    assert simplified_only() > set("国们这听儿坏万价体与无发")
    assert traditional_only() > set("國們這聽兒壞萬價體與無發後於")
    assert not (simplified_only() | traditional_only()) & set("里后干了台么丑范群峰床秘著乾")


def named(text: str) -> list[tuple[str, str]]:
    return [(text[start:end], language) for start, end, language in language_spans(text)]


def test_spans_name_language_and_script_of_each_part() -> None:
    assert named("這是臺灣。今天天气不错。これは本です。I like it. 123。") == [
        ("這是臺灣。", "zh-Hant-TW"),
        ("今天天气不错。", "zh-Hans-CN"),
        ("これは本です。", "ja"),
        ("I like it. 123。", "en"),
    ]


def test_long_latin_runs_stand_alone_and_names_do_not() -> None:
    text = "英文是 The quick brown fox jumps over the lazy dog，我用 Python 寫這個。"
    assert [language for _, language in named(text)] == ["zh-Hant-TW", "en", "zh-Hant-TW"]
    assert named("我用 Python 3.12 寫這個。") == [("我用 Python 3.12 寫這個。", "zh-Hant-TW")]


def test_parts_that_prove_no_script_take_that_of_their_neighbours() -> None:
    assert named("今天。這個。明天。这个。") == [
        ("今天。這個。明天。", "zh-Hant-TW"),
        ("这个。", "zh-Hans-CN"),
    ]
    assert named("今天。明天。") == [("今天。明天。", "zh")]
    assert named("...123") == [("...123", "other")]
    assert language_spans("") == []


def test_shares_of_the_languages() -> None:
    text = "這個問題很難。\n这个问题很难。\n"
    assert language_shares(text) == {"zh-Hant-TW": 0.5, "zh-Hans-CN": 0.5}
    assert language_shares("123") == {}


@given(st.text(st.one_of(st.sampled_from("臺湾的。a \nи。ab.た1"), st.characters())))
def test_spans_cover_the_text(text: str) -> None:
    spans = language_spans(text)
    assert "".join(text[start:end] for start, end, _ in spans) == text
    assert all(a.end == b.start and a.language != b.language for a, b in pairwise(spans))
    assert {span.language for span in spans} <= set(LANGUAGES)


@pytest.mark.conformance
def test_parallel_sentences_are_told_apart(corpora: Path) -> None:
    with gzip.open(corpora / "ud_gsd_dev_hant_hans.jsonl.gz", "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    traditional = [pair["zh_hant"] for pair in pairs]
    simplified = [pair["zh_hans"] for pair in pairs if pair["zh_hans"] != pair["zh_hant"]]
    assert sum(language_of(text) == "zh-Hant-TW" for text in traditional) == len(traditional)
    assert sum(language_of(text) == "zh-Hans-CN" for text in simplified) >= len(simplified) - 1


@pytest.mark.conformance
def test_mixed_documents_are_taken_apart(corpora: Path) -> None:
    def rows(name: str) -> list[dict[str, str]]:
        with gzip.open(corpora / name, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    scripts, english = rows("ud_gsd_dev_hant_hans.jsonl.gz"), rows("ud_pud_hant_en.jsonl.gz")
    assert sum(language_of(row["en"]) == "en" for row in english) == len(english)
    assert sum(language_of(row["zh_hant"]) == "zh-Hant-TW" for row in english) >= 998
    right = total = 0
    for i in range(0, 480, 4):
        parts = (
            (scripts[i]["zh_hant"], "zh-Hant-TW"),
            (english[i]["en"], "en"),
            (scripts[i + 1]["zh_hans"], "zh-Hans-CN"),
            (english[i + 1]["zh_hant"], "zh-Hant-TW"),
        )
        told = [language for part, language in parts for _ in f"{part}\n"]
        spans = language_spans("".join(f"{part}\n" for part, _ in parts))
        found = [language for start, end, language in spans for _ in range(start, end)]
        right += sum(a == b for a, b in zip(found, told, strict=True))
        total += len(told)
    assert right / total >= 0.99
