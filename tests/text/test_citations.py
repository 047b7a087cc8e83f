import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.citations import (
    THRESHOLD,
    citation_report,
    claims,
    malformed,
    normalised_citations,
    states,
    summary,
    supported,
)

A, B = "id_1a2b3c4d", "id_0000ffff"
PASSAGES = {
    A: "瑪麗·居里\n她在1898年12月發現了鐳。她出生於華沙，終身沒有離開科學。",
    B: "鐳是一種放射性元素，於1898年被瑪麗·居里發現。",
}
QUESTION = "誰發現了鐳？"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            f"甲是乙【{A}】。丙是丁。【{B}】【{A}】戊是己。",
            [("甲是乙。", (A,)), ("丙是丁。", (B, A)), ("戊是己。", ())],
        ),
        (f"One is.【{A}】Two is【{B}】.", [("One is.", (A,)), ("Two is.", (B,))]),
        (f"【{A}】甲。\n- 【{B}】乙。", [("甲。", (A,)), ("- 乙。", (B,))]),
        (f"甲是乙。\n【{A}】\n丙", [("甲是乙。", (A,)), ("丙", ())]),
        (f"甲；乙【{A}】。丙【{A}】；丁【{B}】。",
         [("甲；乙。", (A,)), ("丙；", (A,)), ("丁。", (B,))]),
        (f"【{A}】", []),
        ("", []),
    ],
)  # fmt: skip
def test_claims(answer: str, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    assert claims(answer) == expected


@given(st.lists(st.sampled_from(["甲是乙", "。", "；", "\n", f"【{A}】", "1. ", " ", "Yes. "])))
def test_no_citation_is_lost_beside_a_sentence(parts: list[str]) -> None:
    answer = "".join(["起頭。", *parts])
    assert sum(len(claim.cited) for claim in claims(answer)) == parts.count(f"【{A}】")


@pytest.mark.parametrize(
    "text",
    [f"[{A}]", f"〔{A}〕", f"（{A}）", f"【{A}、{B}】", f"【 {A} 】", f"【{A.upper()}】", A,
     "【文件一】",
     "【1a2b3c4d】", "【文件編號】", f"【文件編號：{A}】", "【document id】",
     "【ｉｄ＿1a2b3c4d】", "【id_xyz12345】"],
)  # fmt: skip
def test_other_forms_are_malformed(text: str) -> None:
    assert malformed(f"甲{text}。")
    report = citation_report(f"鐳於1898年發現【{B}】{text}。", PASSAGES)
    assert report.fault() == ("malformed_citation", f"{malformed(text)[0]!r} is no 【id】")


@pytest.mark.parametrize(
    "text", [f"甲【{A}】。", "【新聞】valid_1234567", "[12.5] 註", "identity_abcd"]
)
def test_other_brackets_are_not(text: str) -> None:
    assert not malformed(text)


@pytest.mark.parametrize(
    "sentence",
    [
        "瑪麗·居里在1898年12月發現了鐳。",
        "根據參考文件，玛丽·居里于一八九八年十二月发现了镭。",
        "她終身沒有離開科學，出生於華沙。",
        "1. **發現鐳**的是瑪麗·居里。",
        "答案是瑪麗·居里。",
    ],
)
def test_what_a_passage_says_is_supported(sentence: str) -> None:
    assert supported(sentence, [PASSAGES[A]], QUESTION).score >= THRESHOLD


@pytest.mark.parametrize(
    ("sentence", "missing"),
    [
        ("她在1899年12月發現了鐳。", "1899年"),
        ("她在12年發現了鐳。", "12年"),
        ("她不是出生於華沙。", "不是出"),
        ("她終身離開科學。", "不离开"),
        ("她出生於斯德哥爾摩。", "斯德哥爾摩"),
        ("她在 Stockholm 發現了鐳。", "Stockholm"),
    ],
)
def test_what_it_does_not_say_is_named(sentence: str, missing: str) -> None:
    found = supported(sentence, [PASSAGES[A]], QUESTION)
    assert found.score < THRESHOLD
    assert missing in found.missing


def test_english_is_compared_by_words() -> None:
    passage = "Curie invents a machine, in Paris, 1898."
    assert supported("She invented the machine in Paris.", [passage]).score == 1
    assert supported("She did not invent the machine.", [passage]).score <= 0.5
    assert supported("She invented the machine in Rome.", [passage]).score <= 0.5


def test_passages_support_together() -> None:
    sentence = "放射性元素鐳由出生於華沙的瑪麗·居里發現。"
    alone = [supported(sentence, [text]).score for text in PASSAGES.values()]
    assert supported(sentence, list(PASSAGES.values())).score > max(alone)


def test_a_good_answer_has_no_fault() -> None:
    answer = f"瑪麗·居里在1898年發現了鐳【{A}】。以下說明：\n鐳是一種放射性元素。【{B}】"
    report = citation_report(answer, PASSAGES, QUESTION)
    assert report.fault() is None
    assert (report.sentences, report.supported_sentences, report.citations) == (2, 2, 2)
    assert (report.supported_citations, report.redundant_citations) == (2, 0)


def test_faults_come_by_gravity() -> None:
    answer = f"她生於羅馬市【{A}】。甲[{A}]。乙【id_99999999】。"
    reasons = [reason for reason, _ in citation_report(answer, PASSAGES).faults]
    assert reasons == ["unknown_citation", "malformed_citation", "unsupported_claim"]
    assert citation_report("居里。", PASSAGES).fault() == (
        "no_citation",
        "the answer cites no document",
    )


@pytest.mark.parametrize(
    ("answer", "precise", "redundant"),
    [
        (f"鐳是一種放射性元素【{B}】【{B}】。", 2, 1),  # twice
        (f"鐳是一種放射性元素【{A}】【{B}】。", 1, 1),  # A says nothing about it
        (f"瑪麗·居里於1898年發現了鐳【{A}】【{B}】。", 2, 1),  # either alone would do
        (f"她發現了鐳【{A}】。她出生於華沙【{A}】。", 2, 1),  # one citation at the end would do
        (f"她發現了鐳【{A}】。\n她出生於華沙【{A}】。", 2, 0),
    ],
)
def test_over_citation(answer: str, precise: int, redundant: int) -> None:
    report = citation_report(answer, PASSAGES)
    assert (report.supported_citations, report.redundant_citations) == (precise, redundant)


def test_summary_of_answers() -> None:
    answers = [f"鐳是一種放射性元素【{B}】。她說話。", "她發現了鐳。"]
    found = summary(citation_report(answer, PASSAGES) for answer in answers)
    assert found["citation_precision"] == 1
    assert found["citation_recall"] == pytest.approx(1 / 3)
    assert found["fault_no_citation"] == 1
    assert summary([])["citation_precision"] == 0


@pytest.mark.parametrize(
    "written",
    [f"【文件編號：{A}】", f"【 {A} 】", f"【{A.upper()}】", f"[{A}]", f"（{A}）", f"({A})",
     f"〔{A}〕", f"【參考文件 {A}】", f"[Document ID: {A}]", f"(source: {A})", f"【{A}】",
     f"【{A}、{A}】"],
)  # fmt: skip
def test_other_forms_of_a_given_citation_are_normalised(written: str) -> None:
    assert normalised_citations(f"甲{written}。", [A, B]) == f"甲【{A}】。"
    assert normalised_citations(f"甲{written}。", [B]) == f"甲{written}。"


def test_several_citations_in_brackets_become_as_many() -> None:
    for written in (f"【{A}、{B}】", f"[{A}, {B}]", f"（文件：{A}；{B}）"):
        assert normalised_citations(f"甲{written}。", [A, B]) == f"甲【{A}】【{B}】。"
        assert normalised_citations(f"甲{written}。", [A]) == f"甲{written}。"


@pytest.mark.parametrize("text", [f"編號是{A}。", "（見下文）", "[1]", f"（{A}是它的編號）"])
def test_what_is_no_citation_stays(text: str) -> None:
    assert normalised_citations(text, [A]) == text


@pytest.mark.parametrize(
    "sentence",
    [
        "希望以上資訊對您有幫助！",
        "如果您還有其他問題，歡迎隨時提問。",
        "以下說明：",
        "I hope this helps!",
    ],
)
def test_closings_and_leads_state_nothing(sentence: str) -> None:
    assert not states(sentence)


@pytest.mark.parametrize("sentence", ["他希望透過教育幫助貧童。", "以上三州的人口最多。"])
def test_what_looks_like_one_does(sentence: str) -> None:
    assert states(sentence)
