"""The rules that check others' work, and those that write and obey a system prompt."""

from collections import Counter
from collections.abc import Callable

import opencc
import pytest

from kyara_kedro.prompts import REFUSAL, PromptLibrary
from kyara_kedro.records import OPERATIONS
from kyara_kedro.teachers.base import Completion, ask
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.rules import arithmetic
from kyara_kedro.teachers.rules.checks import same_question, supported
from kyara_kedro.teachers.tasks import KINDS, Check, Comparison, Support, SystemPrompt
from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.citations import CITATION
from kyara_kedro.text.constraints import Constraint, draw, stated
from kyara_kedro.text.script import script_share

Ask = Callable[..., Completion]
Passages = list[dict[str, str]]
TEXT = "德國氣象學家韋格納在1912年提出大陸漂移的想法。地表破裂長約100公里；板塊一直在移動。"
DOCUMENT = {"passage_id": "id_1a2b3c4d", "title": "板塊構造_(地質)", "text": TEXT}
QUESTION = "韋格納在哪一年提出大陸漂移的想法？"


@pytest.mark.parametrize(
    "other",
    [
        "請問韋格納在哪一年提出大陸漂移的想法呢？",
        "韋格納在哪年提出大陸漂移的想法?",
        "韦格纳在什么时候提出大陆漂移的想法？謝謝您。",
        "我想知道，韋格納在何時提出大陸漂移的想法",
    ],
)
def test_politeness_signs_and_script_do_not_make_another_question(rules: Ask, other: str) -> None:
    reply = rules("compare_questions", parent=QUESTION, question=other).parsed
    assert isinstance(reply, Comparison)
    assert reply.equal


@pytest.mark.parametrize(
    "other",
    [
        "韋格納在哪裡提出大陸漂移的想法？",
        "誰提出大陸漂移的想法？",
        "韋格納在哪一年提出大陸漂移的想法？請用一句話完整回答，不要條列。",
        "韋格納在哪一年、哪裡提出大陸漂移的想法？",
        "韋格納在1912年提出大陸漂移的想法，為什麼？",
        "",
    ],
)
def test_another_wh_word_or_a_further_demand_does(rules: Ask, other: str) -> None:
    reply = rules("compare_questions", parent=QUESTION, question=other).parsed
    assert isinstance(reply, Comparison)
    assert not reply.equal
    assert reply.reason


def test_english_questions_are_compared_too() -> None:
    assert same_question("When was it built?", "Could you tell me when was it built, please?")
    assert not same_question("When was it built?", "Where was it built?")
    assert not same_question("How many were built?", "How were many built?")


def test_no_evolution_by_rules_is_its_parent(rules: Ask) -> None:
    for operation in OPERATIONS[1:]:
        reply = rules(
            "evolve_question",
            question=QUESTION,
            operation=operation,
            title=DOCUMENT["title"],
            text=TEXT,
        )
        assert reply.status == "rejected" or not same_question(
            QUESTION,
            reply.parsed.question,  # type: ignore[union-attr]
        )


@pytest.mark.parametrize(
    "claim",
    [
        "德國氣象學家韋格納在1912年提出大陸漂移的想法【id_1a2b3c4d】。",
        "根據參考文件，韋格納在１９１２年提出大陸漂移的想法。",
        "韦格纳在1912年提出大陆漂移的想法",
        "答案是1912年。",
        "2. 板塊一直在移動〔id_1a2b3c4d〕",
        "| 1912年 | 德國氣象學家韋格納在1912年提出大陸漂移的想法【id_1a2b3c4d】 |",
    ],
)
def test_a_literal_claim_is_supported(claim: str) -> None:
    assert supported(claim, TEXT)


@pytest.mark.parametrize(
    "claim",
    [
        "韋格納在1913年提出大陸漂移的想法。",
        "答案是12年。",
        "韋格納提出大陸漂移的想法，地表破裂長約100公里。",
        "板塊不移動。",
        "根據參考文件【id_1a2b3c4d】。",
        "",
        "10公里",
    ],
)
def test_a_claim_with_anything_else_is_not(claim: str) -> None:
    assert not supported(claim, TEXT)
    assert not supported(claim, "")


def test_each_claim_has_its_verdict(rules: Ask) -> None:
    said = ["板塊一直在移動。", "板塊靜止。", "地表破裂長約100公里。"]
    reply = rules("check_support", claims=[{"sentence": one, "text": TEXT} for one in said])
    assert isinstance(reply.parsed, Support)
    assert reply.parsed.verdicts == [True, False, True]
    assert "2" in reply.parsed.reason
    empty = rules("check_support", claims=[]).parsed
    assert isinstance(empty, Support)
    assert empty.verdicts == []


@pytest.mark.parametrize("language", ["zh-TW", "en"])
def test_what_the_rules_answer_stands_in_what_they_cite(
    rules: Ask, passages: Passages, english_passages: Passages, language: str
) -> None:
    verdicts: Counter[bool] = Counter()
    for passage in english_passages if language == "en" else passages[:40]:
        for question in questions(rules, passage, language):
            answer = rules(
                "answer_question",
                language,
                question=question,
                documents=[passage],
                style="detailed",
                cite=True,
            ).text
            verdicts.update(
                supported(CITATION.sub("", span.of(answer)), passage["text"])
                for span in sentences(answer)
            )
    assert verdicts[True] > 40
    assert not verdicts[False]


def questions(rules: Ask, passage: dict[str, str], language: str) -> list[str]:
    reply = rules(
        "write_questions",
        language,
        passage["passage_id"],
        title=passage["title"],
        text=passage["text"],
        count=2,
        kinds=list(KINDS),
    ).parsed
    return [one.text for one in reply.questions]  # type: ignore[union-attr]


def test_a_solution_is_checked_by_solving_again(rules: Ask) -> None:
    for seed in range(8):
        problem = arithmetic.pose("一位果農", str(seed), "zh-TW")
        solved = arithmetic.solve(problem)
        assert solved is not None
        for solution, correct in (
            (solved.text, True),
            (f"算式略。\n答案：{solved.answer} 元", True),
            (f"{solved.text}\n答案：987654", False),
            (f"所以是{solved.answer}。", False),
            ("", False),
        ):
            reply = rules("check_solution", problem=problem, solution=solution)
            assert isinstance(reply.parsed, Check)
            assert reply.parsed.correct == correct, (problem, solution)
            assert solved.answer in reply.parsed.reason
    unknown = rules("check_solution", problem="1 加 1 是多少？", solution="答案：2")
    assert (unknown.status, unknown.parsed) == ("rejected", None)


@pytest.mark.parametrize("language", ["zh-TW", "zh-CN", "en"])
def test_a_system_prompt_states_its_constraints_and_names_its_topic(
    rules: Ask, language: str
) -> None:
    title = {"zh-TW": "板塊「構造」_(地質)", "zh-CN": "板块「构造」", "en": 'The "plates"'}
    written = set()
    for number in range(60):
        constraints = draw(str(number), language)
        reply = rules(
            "write_system_prompt",
            language,
            str(number),
            title=title[language],
            text="不出现的内文",
            constraints=[one.wording(str(number)) for one in constraints],
        ).parsed
        assert isinstance(reply, SystemPrompt)
        assert "『" in reply.system or "'plates'" in reply.system
        assert "不出现" not in reply.system
        assert stated(reply.system, language) == constraints
        written.add(reply.system)
        shares = script_share(reply.system)
        assert (shares.traditional if language == "zh-CN" else shares.simplified) == 0
    assert len(written) >= 50
    assert rules("write_system_prompt", title=" ", text="", constraints=[]).status == "rejected"


@pytest.mark.parametrize("language", ["zh-TW", "zh-CN", "en"])
def test_answers_keep_to_what_they_are_told(
    rules: Ask, passages: Passages, english_passages: Passages, language: str
) -> None:
    corpus = english_passages if language == "en" else passages[:50]
    if language == "zh-CN":
        convert = opencc.OpenCC("tw2s").convert
        corpus = [{name: convert(said) for name, said in one.items()} for one in corpus[:20]]
    outcomes: Counter[str] = Counter()
    for passage in corpus:
        for question in questions(rules, passage, language):
            constraints = draw(question, language)
            told = [one.wording(question) for one in constraints]
            reply = rules(
                "answer_as_told",
                language,
                system=f"你是編輯。{''.join(told)}" if language == "zh-TW" else " ".join(told),
                question=question,
                documents=[passage],
            )
            outcomes[reply.status] += 1
            if reply.status == "ok":
                assert [one.id for one in constraints if not one.holds(reply.text)] == []
                assert passage["passage_id"] not in reply.text
    assert outcomes["ok"] > 30
    assert outcomes["ok"] / outcomes.total() >= 0.9


def told(rules: Ask, system: str, question: str = QUESTION) -> Completion:
    return rules("answer_as_told", system=system, question=question, documents=[DOCUMENT])


def test_the_key_point_is_the_answer_and_the_title_that_of_the_document(rules: Ask) -> None:
    bold = Constraint("bold", "zh-TW").wording("0")
    assert "韋格納在**1912年**提出" in told(rules, bold).text
    title = Constraint("title", "zh-TW").wording("0")
    assert told(rules, title).text.startswith("【板塊構造】\n德國氣象學家")


def test_what_the_rules_cannot_do_as_told_they_refuse(rules: Ask) -> None:
    greeting = Constraint("greeting", "zh-TW", "您好！").wording("0")
    assert told(rules, "請用海盜的口吻說話。").status == "rejected"
    assert told(rules, greeting, f"{QUESTION}請只寫出答案，不要加上任何說明。").status == "rejected"
    short = {**DOCUMENT, "text": "DNA 在1953年由華生與克里克提出結構。"}
    letters = rules(
        "answer_as_told",
        system=Constraint("no_letters", "zh-TW").wording("0"),
        question="DNA 的結構在哪一年由華生與克里克提出？",
        documents=[short],
    )
    assert letters.status == "rejected"
    assert "zh-TW:no_letters" in letters.error
    assert told(rules, greeting, "誰發明了量子風箏的編織針法？").text == REFUSAL["zh-TW"]


def test_the_same_row_gets_the_same_system_prompt() -> None:
    def run() -> list[str]:
        inputs = {"title": "Tea", "text": "Tea is a drink.", "constraints": ["Be brief."]}
        requests = [
            ask(PromptLibrary(), row, "write_system_prompt", "en", **inputs) for row in "abcdef"
        ]
        return [done.text for done in ExtractiveTeacher().map(requests)]

    assert run() == run()
    assert len(set(run())) >= 4
