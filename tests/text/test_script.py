import gzip
import json
from pathlib import Path

import pytest

from kyara_kedro.records import LANGUAGES
from kyara_kedro.text.script import (
    ScriptCount,
    language_of,
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


@pytest.mark.conformance
def test_parallel_sentences_are_told_apart(corpora: Path) -> None:
    with gzip.open(corpora / "ud_gsd_dev_hant_hans.jsonl.gz", "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    traditional = [pair["zh_hant"] for pair in pairs]
    simplified = [pair["zh_hans"] for pair in pairs if pair["zh_hans"] != pair["zh_hant"]]
    assert sum(language_of(text) == "zh-Hant-TW" for text in traditional) == len(traditional)
    assert sum(language_of(text) == "zh-Hans-CN" for text in simplified) >= len(simplified) - 1
