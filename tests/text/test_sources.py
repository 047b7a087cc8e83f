import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.sources import names_sources, without_sources

SAID = "元朝結束於1368年。"


@pytest.mark.parametrize(
    "words",
    [
        "根據文件，", "根據文件記載，", "根據文件內容，", "依據提供的資料，",
        "根據所提供的文件顯示，", "文件指出，",
        "文件中提到", "參考文件說明", "在文件中，", "上述資料顯示", "本文提到", "如文中所述，",
        "這段文字說明",
        "从资料中可知，", "根据提供的文件，", "根據這篇文章的內容，", "**根據您提供的參考資料**，",
    ],
)  # fmt: skip
def test_words_for_the_documents_are_found_and_left_out(words: str) -> None:
    assert names_sources(words + SAID)
    assert without_sources(words + SAID).strip("*") == SAID


@pytest.mark.parametrize(
    "text",
    [
        "根據資料庫中的紀錄，該型號於2001年停產。", "從文章中學習寫作是常見的方法。",
        "從文件中擷取關鍵字是基本任務。",
        "根據文獻記載，先民由海路而來。", "根據2014年的資料顯示，人口減少。",
        "解密文件顯示，總統知情。",
        "在文言文中，之是代詞。", "文中子是隋代大儒。", "報導指出，該公司停業。",
        "根據《史記》記載，項羽敗走。",
        "The documents of the court state otherwise.", "In the context of the war, it mattered.",
        "According to article 9, war is renounced.", "Information theory says so.",
        "The following documents are required: a passport.",
    ],
)  # fmt: skip
def test_other_texts_are_no_documents_in_hand(text: str) -> None:
    assert names_sources(text) is None


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    assert (names_sources(text) is None) or len(without_sources(text)) < 4 * len(text)
