import pytest

from kyara_kedro.pipelines.synthesize.elimination import (
    equals_parent,
    leaks_prompt,
    leans_on_document,
    says_nothing,
    shows_trouble,
)


@pytest.mark.parametrize("question", ["谁发现了镭?", "請問誰發現了鐳？謝謝", "誰，發現了「鐳」？"])
def test_the_same_question_is_equal(question: str) -> None:
    assert equals_parent("誰發現了鐳？", question)


@pytest.mark.parametrize(
    ("parent", "question"),
    [
        ("三月的雨量是多少？", "五月的雨量是多少？"),
        ("誰發現了鐳？", "誰發現了鐳？又是在哪一年？"),
        ("甲打敗乙是在何時？", "乙打敗甲是在何時？"),
    ],
)
def test_another_question_is_not(parent: str, question: str) -> None:
    assert equals_parent(parent, question) is None


@pytest.mark.parametrize(
    "question",
    [
        "根據給定的提示，說明鐳的發現。",
        "改写后的提示：谁发现了镭？",
        "#Rewritten Prompt#: Who found radium?",
        "#改寫後的問題#：誰發現了鐳？",
        "Given the original prompt, who found radium?",
    ],
)
def test_words_of_the_rewriting_prompt_leak(question: str) -> None:
    assert leaks_prompt("誰發現了鐳？", question)
    assert leaks_prompt(question, question) is None


def test_a_question_about_prompts_leaks_nothing() -> None:
    assert leaks_prompt("什麼是提示工程？", "什麼是提示工程 (prompt engineering)？請舉例。") is None


@pytest.mark.parametrize("response", ["", "。……", "的了。", "the of, and"])
def test_punctuation_and_function_words_say_nothing(response: str) -> None:
    assert says_nothing(response)


@pytest.mark.parametrize("response", ["42", "三十", "好", "radium", "鐳"])
def test_a_short_answer_says_something(response: str) -> None:
    assert says_nothing(response) is None


def test_a_response_shows_trouble_only_when_its_speaker_has_it() -> None:
    for response in ("抱歉，我無法回答。", "無法提供相關說明。", "本模型目前無法完成此任務。"):
        assert shows_trouble(response, "zh-TW")
    for response in (
        "無法飛行的鳥類包括鴕鳥與企鵝。",
        "他無法出席會議。",
        "細胞無法完成分裂時會凋亡。",
    ):
        assert shows_trouble(response, "zh-TW") is None
    assert shows_trouble("Sorry, no.", "en")


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("本文的主旨為何？", "本文"),
        ("請問本文提到哪些國家？", "問本文"),
        ("文中提及，內馬爾是哪方面的世界級?", "文中"),
        ("根據上文，誰發現了鐳？", "根據上文"),
        ("這篇文章的重點是什麼？", "這篇文章"),
        ("上述事件發生於何年？", "上述事"),
        ("下列何者正確？", "下列何者"),
        ("作者認為城市化的原因是什麼？", "作者"),
        ("從文章中可以推測什麼？", "從文章中"),
    ],
)
def test_a_question_that_leans_on_a_text(question: str, words: str) -> None:
    assert leans_on_document(question, "zh-TW") == words


@pytest.mark.parametrize(
    "question",
    [
        "日本文化的起源為何？",
        "基本文法有哪些？",
        "《紅樓夢》的作者是誰？",
        "《魔戒》出版時，作者住在哪裡？",
        "作者權與著作權有何不同？",
        "18歲以下的青少年能投票嗎？",
        "地圖中的比例尺是什麼？",
        "代表中華民國參賽的選手有誰？",
        "「福爾摩沙」原文是何種語言?",
        "「知之為知之」這段話是誰說的？",
        "根據2014年的資料顯示，非洲最大的經濟體是?",
        "資料中心的能源消耗主要來自哪些設備？",
        "資料庫正規化的目的是什麼？",
        "文件物件模型是由哪個組織制定的？",
        "五十萬元以下的罰金屬於哪一類刑罰？",
        "員工五人以下的公司是否必須投保勞工保險？",
        "材料中添加碳的目的為何？",
        "在材料的選擇上，這座大樓採用了哪種鋼材？",
        "從資料的型態區分，統計變數有哪兩類？",
    ],
)
def test_a_question_that_stands_alone(question: str) -> None:
    assert leans_on_document(question, "zh-TW") is None


def test_english_questions() -> None:
    for question in ("According to the passage, who won?", "What does the author think?"):
        assert leans_on_document(question, "en")
    for question in (
        "Who is the author of Hamlet?",
        "What article bans slavery?",
        "In the context of World War II, who was the general?",
        "What is the purpose of the articles of association?",
        "According to the article 9 of the constitution, what is renounced?",
        "What does the document object model represent?",
        "What did the author of Hamlet do?",
    ):
        assert leans_on_document(question, "en") is None
