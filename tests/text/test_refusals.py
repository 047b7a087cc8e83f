import pytest

from kyara_kedro.prompts.library import REFUSAL
from kyara_kedro.text.refusals import refusal_kind, shows_difficulty


@pytest.mark.parametrize("language", REFUSAL)
@pytest.mark.parametrize("stop", ["", "。", "."])
def test_the_prescribed_sentence_alone_is_exact(language: str, stop: str) -> None:
    said = f" {REFUSAL[language].rstrip('.')}{stop}\n"
    assert refusal_kind(said, language, REFUSAL[language]) == "exact"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("zh-TW", "抱歉，參考文件缺乏與問題相關資訊，建議您查詢其他來源。"),
        ("zh-TW", "「參考文件缺乏與問題相關資訊」"),
        ("zh-TW", "参考文件缺乏与问题相关资讯"),
        ("zh-TW", "文件中沒有提到這件事。"),
        ("zh-TW", "根據提供的文件，無法回答這個問題。"),
        ("zh-TW", "所提供的資料並未說明他的出生年份。"),
        ("zh-TW", "很抱歉，我無法回答這個問題。"),
        ("zh-TW", "無法回答"),
        ("zh-TW", "參考文件缺乏與問題相關資訊【id_1a2b3c4d】"),
        ("zh-CN", "文档中没有提到相关内容。"),
        ("zh-CN", "抱歉，我无法从文档中找到答案。"),
        ("en", "I'm sorry, but the references do not mention it."),
        ("en", "There is no information in the passages about this."),
        ("en", "It is not mentioned in the provided documents."),
        ("en", "I don’t know."),
    ],
)
def test_other_refusals_are_worded(language: str, text: str) -> None:
    assert refusal_kind(text, language, REFUSAL[language]) == "worded"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("zh-TW", ""),
        ("zh-TW", "他無法回答記者的問題，便離開了會場。"),
        ("zh-TW", "這部法律沒有規定罰則。"),
        ("zh-TW", "居里夫人發現了鐳【id_1a2b3c4d】。文件未提及其他發現。"),
        ("en", "The king could not answer the senate and left."),
        ("en", "The treaty does not mention slavery."),
    ],
)
def test_answers_are_none(language: str, text: str) -> None:
    assert refusal_kind(text, language, REFUSAL[language]) is None


def test_difficulty_is_short_and_begins_with_it() -> None:
    assert shows_difficulty("很抱歉，我沒有辦法。", "zh-TW")
    assert shows_difficulty("对不起", "zh-CN")
    assert not shows_difficulty("很抱歉，" + "說" * 120, "zh-TW")
    assert not shows_difficulty("說" * 20 + "抱歉", "zh-TW")
    assert shows_difficulty("I am sorry, no.", "en")
    assert not shows_difficulty("sorry " + "word " * 80, "en")
