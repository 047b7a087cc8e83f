import opencc
import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.prompts.library import REFUSAL, PromptLibrary
from kyara_kedro.quality import heuristics
from kyara_kedro.quality.heuristics import ASPECTS, SCORER, HeuristicsOptions, score
from kyara_kedro.records import QUALITY

ASK = "請說明臺灣的夜市文化是如何形成的？"
GOOD = (
    "臺灣的夜市文化源於日治時期廟口與市集的攤販，戰後都市人口成長，下班之後的消費需求讓攤販聚集成市，"
    "逐漸形成固定的夜市。各地夜市後來發展出自己的小吃與遊戲攤位，成為觀光的重點。"
)
PLAIN = "今天天氣很好。"


@pytest.fixture(scope="module")
def rag():
    documents = [{"passage_id": "id_1a2b3c4d", "title": "玉山", "text": "玉山海拔 3,952 公尺。"}]
    prompt = PromptLibrary().render_rag(documents, "玉山多高？", "zh-TW")
    return prompt.messages[-1]["content"]


def test_a_good_answer_beats_broken_ones(corpus):
    broken = {
        "cut": GOOD[:-20],
        "loop": "夜市文化逐漸形成。" * 20,
        "stub": "夜市。",
        "simplified": opencc.OpenCC("t2s").convert(GOOD),
        "off topic": "彈性繃帶用途很廣，急救時可以固定關節，也可以壓住傷口止血，"
        "使用之前要先清潔患部，纏繞的力道也要適中。",
        "apology": "很抱歉，我無法回答這個問題。",
    }
    table = QUALITY.validate(
        score(corpus((ASK, GOOD), *((ASK, answer) for answer in broken.values())))
    )
    best, *rest = table["score"].to_list()
    assert best > 0.95
    assert all(value < best - 0.05 for value in rest), dict(zip(broken, rest, strict=True))
    assert set(table["scorer"]) == {SCORER}


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("答案是玉山。", 1),
        ("玉山", 1),
        ("```python\nx = 1\n", 0),
        ("一、甲\n二、乙", 1),
        (GOOD[:-3], 0.2),
    ],
)
def test_completeness(answer, value):
    assert heuristics.completeness(ASK, answer) == value


@pytest.mark.parametrize("unit", ["a", "a("])
def test_a_long_answer_without_an_end_takes_no_longer_for_it(unit):
    assert heuristics.completeness(ASK, unit * 500_000) == 0.2  # in seconds, not in hours


def test_repetition():
    assert heuristics.repetition(ASK, GOOD) == 1
    assert heuristics.repetition(ASK, "好的好的" * 50) < 0.1
    assert heuristics.repetition(ASK, "好") == 1


def test_adequacy():
    assert heuristics.adequacy("只回答年份：臺北何時設府？", "1875") == 1
    assert heuristics.adequacy(ASK, "因為人多。") < 0.2


def test_script_speaks_of_traditional_questions_only():
    assert heuristics.script(ASK, GOOD) == 1
    assert heuristics.script(ASK, opencc.OpenCC("t2s").convert(GOOD)) == 0
    assert heuristics.script("请说明夜市", "夜市就是晚上的市场") is None
    assert heuristics.script("Why?", GOOD) is None
    assert heuristics.script(ASK, "OK") == 1


def test_relevance():
    assert heuristics.relevance(ASK, GOOD) == 1
    assert heuristics.relevance(ASK, PLAIN) == 0
    assert heuristics.relevance("把「貓」翻譯成英文", "cat") is None


def test_compliance(rag):
    assert heuristics.compliance(ASK, "抱歉，我不能提供這項資訊。") == 0
    assert heuristics.compliance(ASK, "I'm sorry, but I cannot help.") == 0
    assert heuristics.compliance(ASK, "幾乎無法想像的是，" + GOOD) == 1
    assert heuristics.compliance(rag, REFUSAL["zh-TW"] + "。") == 1


@pytest.mark.parametrize(
    ("asked", "answer", "value"),
    [
        ("請以 JSON 回答", '{"山": "玉山"}', 1),
        ("請以 JSON 回答", '```json\n{"山": "玉山"}\n```', 1),
        ("請以 JSON 回答", "玉山", 0),
        ("請以 JSON 回答", "[" * 200_000, 0),
        ("請寫一個 Python 函式", "def f(x):\n    return x", 1),
        ("請寫一個 Python 函式", "這很簡單。", 0),
        ("列出三座山", "1. 玉山\n2. 雪山\n3. 秀姑巒山", 1),
        ("請條列三座山", "玉山", 0),
        ("請整理成表格", "| 山 | 高 |\n|---|---|\n| 玉山 | 3952 |", 1),
        (ASK, GOOD, None),
    ],
)
def test_format(asked, answer, value):
    assert heuristics.format_following(asked, answer) == value


def test_citation(rag):
    assert heuristics.citation(ASK, GOOD) is None
    assert heuristics.citation(rag, "玉山海拔 3,952 公尺【id_1a2b3c4d】。") == 1
    assert heuristics.citation(rag, "玉山海拔 3,952 公尺【id_ffffffff】。") == 0
    assert heuristics.citation(rag, "玉山海拔 3,952 公尺。") == 0
    assert heuristics.citation(rag, REFUSAL["zh-TW"]) == 1


def test_all_rounds_count_and_weights_decide(corpus):
    both = score(corpus((ASK, GOOD, ASK, PLAIN)))["score"][0]
    good, bad = score(corpus((ASK, GOOD), (ASK, PLAIN)))["score"]
    assert bad < both < good
    alone = score(corpus((ASK, PLAIN)), HeuristicsOptions(weights={"relevance": 1.0}))
    assert alone["score"].to_list() == [0.0]


def test_without_an_aspect_that_applies_there_is_no_score(corpus):
    found = score(corpus((ASK, GOOD)), HeuristicsOptions(weights={"citation": 1.0}))
    assert QUALITY.validate(found).select("score", "scorer").rows() == [(None, "")]


def test_unknown_aspects_and_tables_without_rows(corpus):
    with pytest.raises(UserError, match="no aspect 'beauty'"):
        score(corpus((ASK, GOOD)), HeuristicsOptions(weights={"beauty": 1.0}))
    assert score(corpus()).height == 0
    assert set(HeuristicsOptions().weights) == set(ASPECTS)
