import gzip
import json
import logging
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kyara_kedro.prompts import REFUSAL, PromptLibrary
from kyara_kedro.records import OPERATIONS
from kyara_kedro.teachers.base import Completion, ask
from kyara_kedro.teachers.extractive import ExtractiveOptions, ExtractiveTeacher
from kyara_kedro.teachers.rules.answers import clozes
from kyara_kedro.teachers.rules.evidence import rank_sentences, relevance, support
from kyara_kedro.teachers.rules.evolution import TEMPLATES, Template, unwrap, wrap
from kyara_kedro.teachers.tasks import KINDS, Question, WrittenQuestion
from kyara_kedro.text.citations import cited

Ask = Callable[..., Completion]
Passages = list[dict[str, str]]
LIBRARY = PromptLibrary()

TEXT = (
    "板塊構造學說認為，地球的岩石圈由許多塊會移動的板塊拼合而成。德國氣象學家韋格納在1912年提"
    "出大陸漂移的想法。"
    "車籠埔斷層的錯動引發九二一大地震，地表破裂長約100公里。P波是地震發生後最先抵達測站的波。"
    "由於P波會先抵達測站，中央氣象署能夠發布強震即時警報。"
)


def written(rules: Ask, passages: Passages, language: str = "zh-TW") -> list[Any]:
    found = []
    for passage in passages:
        reply = rules(
            "write_questions",
            language,
            row_id=passage["passage_id"],
            title=passage["title"],
            text=passage["text"],
            count=4,
            kinds=list(KINDS),
        ).parsed
        found += [(passage, question) for question in reply.questions]  # type: ignore[union-attr]
    return found


def test_questions_put_the_wh_word_where_the_answer_stood(rules: Ask) -> None:
    reply = rules(
        "write_questions",
        title="板塊構造",
        text=TEXT,
        count=9,
        kinds=[],
    )
    found = {(q.text, q.answer) for q in reply.parsed.questions}  # type: ignore[union-attr]
    assert {
        ("關於「板塊構造」，德國氣象學家韋格納在哪一年提出大陸漂移的想法？", "1912年"),
        ("關於「板塊構造」，車籠埔斷層的錯動引發九二一大地震，地表破裂長約多少公里？", "100公里"),
        ("關於「板塊構造」，為什麼中央氣象署能夠發布強震即時警報？", "P波會先抵達測站"),
    } <= found | {
        (f"關於「板塊構造」，{text}", answer) for text, answer in found if "關於" not in text
    }


@pytest.mark.parametrize(
    "text",
    [
        "在1822年和1854年之間，阿伊努人的人口大量減少。",
        "該校在1950年遷到現址。",
        "他於1950年出生於巴黎。",
        "1715年2月，與葡萄牙簽訂《西葡戰記》。",
        "此後，1950年到1960年是發展最快的時期。",
    ],
)
def test_sentences_that_lean_on_others_and_half_ranges_give_no_question(
    rules: Ask, text: str
) -> None:
    reply = rules("write_questions", title="歷史", text=text, count=5, kinds=[])
    kinds = [q.kind for q in reply.parsed.questions]  # type: ignore[union-attr]
    assert "work" not in kinds
    assert all("葡萄牙" in q.text for q in reply.parsed.questions)  # type: ignore[union-attr]


def asked(title: str, text: str) -> dict[str, str]:
    """Questions that the rules make from a text, with their answers."""
    return {one.question: one.answer for one in clozes(title, text, "zh-TW")}


@pytest.mark.parametrize(
    ("title", "text", "question", "answer"),
    [
        (
            "銅仁市",
            "銅仁市是貴州省下轄的地級市，位於貴州省東北部。",
            "銅仁市位於哪裡？",
            "貴州省東北部",
        ),
        (
            "陽明山國家公園",
            "陽明山國家公園成立於1985年，保護的核心是火山地形。",
            "陽明山國家公園成立於哪一年？",
            "1985年",
        ),
        (
            "茶",
            "茶農於1867年在大稻埕設立工廠,茶葉因此改良了。",
            "茶農於哪一年在大稻埕設立工廠，茶葉因此改良了？",
            "1867年",
        ),
        (
            "火箭",
            "火箭是一種靠反作用力前進的飛行器。",
            "火箭是什麼？",
            "一種靠反作用力前進的飛行器",
        ),
        (
            "韋格納",
            "韋格納是提出大陸漂移說的氣象學家。",
            "韋格納是誰？",
            "提出大陸漂移說的氣象學家",
        ),
        (
            "海關",
            "清末簽訂了《馬關條約》，割讓臺灣。",
            "關於「海關」，清末簽訂了哪一項條約？",
            "《馬關條約》",
        ),
        (
            "勞工",
            "立法院在1984年通過《勞動基準法》。",
            "關於「勞工」，立法院在1984年通過哪一部法律？",
            "《勞動基準法》",
        ),
        (
            "新浪潮",
            "導演侯孝賢在1989年拍攝了電影《悲情城市》。",
            "關於「新浪潮」，導演侯孝賢在1989年拍攝了哪一部電影？",
            "《悲情城市》",
        ),
        (
            "臺灣鐵路",
            "因為山中的岩層堅硬，隧道的工程被迫停止，鐵路在1891年才通車。",
            "關於「臺灣鐵路」，為什麼隧道的工程被迫停止？",
            "山中的岩層堅硬",
        ),
    ],
)
def test_questions_stand_alone_and_have_the_right_wh_word(
    title: str, text: str, question: str, answer: str
) -> None:
    found = asked(title, text)
    assert found.get(question) == answer


@pytest.mark.parametrize(
    ("title", "text", "fragment"),
    [
        ("臺灣", "臺灣過去是一個人口稀少的島嶼。", "過去是什麼"),
        ("南斯拉夫", "由於斯洛維尼亞是單一民族國家，境內的塞族並不多。", "為什麼"),
        ("一戰", "與保加利亞在1919年簽署《訥依條約》。", "與保加利亞"),
        ("秦嶺", "秦嶺寬200∼300公里，海拔2000∼3000米。", "多少"),
        ("阿伊努人", "在1822年和1854年之間，阿伊努人的人口大量減少。", "哪一年"),
        ("高加索", "高加索的冰川從3000-3500米的高處開始。", "多少"),
        ("粵語", "粵語有著超過2000年的發展史。", "哪一年"),
        ("史都華", "1990年史都華因為傑出的公益服務，獲得大學頒獎。", "公益服務？"),
        ("電機", "大約1837年，自從庫克展示出第一座具有商業潛力的電報機，通訊便快了。", "電報機？"),
        ("國會", "國會在1850年不但通過新法，還成立了委員會。", "新法？"),
        ("王國", "長城的防線因其舊址而堅固。", "其舊址"),
    ],
)
def test_questions_that_would_mislead_are_not_asked(title: str, text: str, fragment: str) -> None:
    assert not [
        (question, answer)
        for question, answer in asked(title, text).items()
        if fragment in question or fragment in answer
    ]


def test_a_person_found_by_role_has_the_form_of_a_name() -> None:
    assert asked("地質", "中國科學家沈括率先提出了地形結構的原理。") == {
        "關於「地質」，哪一位中國科學家率先提出了地形結構的原理？": "沈括"
    }
    assert not asked("學術", "許多學者普遍認為這是對的。某學者曾經主持會議。")


def test_answers_cite_no_id_that_stands_in_a_document(rules: Ask) -> None:
    text = "德國氣象學家韋格納在1912年提出大陸漂移的想法【id_deadbeef】。"
    document = {"passage_id": "id_1a2b3c4d", "title": "板塊構造", "text": text}
    question = "韋格納在哪一年提出大陸漂移的想法？"
    for style in ("detailed", "brief"):
        reply = rules(
            "answer_question", question=question, documents=[document], style=style, cite=True
        )
        assert set(cited(reply.text)) == {"id_1a2b3c4d"}


def test_a_title_tells_whose_sentence_it_is() -> None:
    """Two articles with the same sentence: the one that the question names comes first."""
    text = "首府設於河口，面積為1200平方公里。"
    documents = [{"title": title, "text": text} for title in ("紅河州", "藍山州", "白石州")]
    ranked = rank_sentences("藍山州的面積為多少平方公里？", documents)
    assert ranked[0].document == 1
    assert relevance("藍山州的面積有多大？", documents[1]) > relevance(
        "藍山州的面積有多大？", documents[0]
    )
    assert all(0 <= one.score <= 1 for one in ranked)
    assert relevance("藍山州的面積有多大？", {"title": "", "text": ""}) == 0


def test_support_prefers_the_neighbour_and_what_is_new() -> None:
    text = (
        "車站在北門外。北門車站的站長是林先生。車站的地下有三層。"
        "站前的廣場很大。廣場旁的車站旅館在1920年開業。"
    )
    question = "北門車站的站長負責的地下有幾層？"
    ranked = rank_sentences(question, [{"title": "車站", "text": text}])
    first = next(one for one in ranked if "站長" in one.text)
    assert support(question, first, [one for one in ranked if one != first])[0].position == 2


@pytest.mark.parametrize(("language", "least"), [("zh-TW", 2.0), ("en", 2.0)])
def test_own_questions_are_literal_and_their_brief_answers_exact(
    rules: Ask, passages: Passages, english_passages: Passages, language: str, least: float
) -> None:
    corpus = english_passages if language == "en" else passages
    found = written(rules, corpus, language)
    assert len(found) / len(corpus) >= least
    right = 0
    for passage, question in found:
        assert question.answer in question.evidence
        assert question.evidence in passage["text"]
        assert question.answer not in question.text
        assert question.kind in KINDS
        reply = rules(
            "answer_question",
            language,
            question=question.text,
            documents=[passage],
            style="brief",
            cite=False,
        )
        right += reply.text == question.answer
    assert right / len(found) >= 0.95


@pytest.mark.parametrize("operation", OPERATIONS[1:])
def test_an_evolved_question_still_finds_its_answer(
    rules: Ask, passages: Passages, operation: str
) -> None:
    found = written(rules, passages[:30])
    outcomes: Counter[str] = Counter()
    for passage, question in found:
        reply = rules(
            "evolve_question",
            row_id=question.text,
            question=question.text,
            operation=operation,
            title=passage["title"],
            text=passage["text"],
        )
        outcomes[reply.status] += 1
        if reply.status != "ok":
            continue
        assert isinstance(reply.parsed, Question)
        assert reply.parsed.question != question.text
        answer = rules(
            "answer_question",
            question=reply.parsed.question,
            documents=[*passages[-3:], passage],
            style="detailed",
            cite=True,
        ).text
        assert set(cited(answer)) == {passage["passage_id"]}
        if operation != "breadth":
            assert question.answer in answer
    assert outcomes["ok"] >= 0.9 * len(found)


def test_scenarios_vary_with_the_row_and_can_not_be_stacked(rules: Ask) -> None:
    question = "韋格納在哪一年提出大陸漂移的想法？"
    inputs = {"operation": "scenario", "title": "板塊構造", "text": TEXT}
    wrapped = {
        rules("evolve_question", row_id=f"row{i}", question=question, **inputs).parsed.question  # type: ignore[union-attr]
        for i in range(60)
    }
    assert len(wrapped) >= 6
    again = rules("evolve_question", question=sorted(wrapped)[0], **inputs)
    assert (again.status, again.parsed) == ("rejected", None)


def test_structured_answers_are_what_was_asked_for(rules: Ask) -> None:
    question = (
        "德國氣象學家韋格納在哪一年提出大陸漂移的想法？請以 JSON 格式回答，欄位為「答"
        "案」，值為字串。"
    )
    document = {"passage_id": "id_1a2b3c4d", "title": "板塊構造", "text": TEXT}
    reply = rules(
        "answer_question", question=question, documents=[document], style="detailed", cite=False
    )
    assert json.loads(reply.text) == {"答案": "1912年"}


def test_what_no_document_bears_on_is_refused_in_the_exact_words(
    rules: Ask, passages: Passages
) -> None:
    for language in ("zh-TW", "en"):
        question = (
            "誰發明了量子風箏的編織針法？" if language == "zh-TW" else "Who wove quantum kites?"
        )
        reply = rules(
            "answer_question",
            language,
            question=question,
            documents=passages[:4],
            style="detailed",
            cite=True,
        )
        assert reply.text == REFUSAL[language]
    judged = rules("judge_passage", question="量子風箏是誰編的？", title="板塊", text=TEXT)
    assert judged.text == '{"relevant": false, "evidence": "", "summary": ""}'


def test_relevance_tells_a_questions_passage_from_others(rules: Ask, passages: Passages) -> None:
    found = written(rules, passages[::4])
    hits = misses = 0
    draw = random.Random(0)
    for passage, question in found:
        other = draw.choice([p for p in passages if p["title"] != passage["title"]])
        own = rules(
            "judge_passage", question=question.text, title=passage["title"], text=passage["text"]
        ).parsed
        strange = rules(
            "judge_passage", question=question.text, title=other["title"], text=other["text"]
        ).parsed
        assert own.evidence in passage["text"]  # type: ignore[union-attr]
        hits += own.relevant  # type: ignore[union-attr]
        misses += not strange.relevant  # type: ignore[union-attr]
    assert hits == len(found)
    assert misses / len(found) >= 0.95


def test_detailed_answers_cite_after_each_sentence(rules: Ask, passages: Passages) -> None:
    for passage, question in written(rules, passages[:10]):
        answer = rules(
            "answer_question",
            question=question.text,
            documents=[passage],
            style="detailed",
            cite=True,
        ).text
        assert len(cited(answer)) == answer.count("】。") >= 1


def test_follow_ups_ask_for_something_not_said_yet(rules: Ask) -> None:
    history = [
        {"role": "user", "content": "韋格納在哪一年提出大陸漂移的想法？"},
        {"role": "assistant", "content": "1912年，他是德國氣象學家韋格納。"},
    ]
    reply = rules("follow_up", history=history, title="板塊構造", text=TEXT)
    assert isinstance(reply.parsed, Question)
    assert "大陸漂移" not in reply.parsed.question


def test_other_tasks_answer_in_their_form(rules: Ask, passages: Passages) -> None:
    passage = passages[0]
    queries = rules("expand_query", question="關於「質數」，誰在2013年證明孿生質數有無限多對？")
    assert len(queries.parsed.queries) >= 2  # type: ignore[union-attr]
    prompt = rules("prompt_for_document", title=passage["title"], text=passage["text"])
    assert passage["title"] in prompt.parsed.prompt  # type: ignore[union-attr]
    tags = rules(
        "tag_instruction",
        messages=[{"role": "user", "content": "茶在哪一年傳入？請以 JSON 格式回答。"}],
    )
    reasons = {tag.tag: tag.explanation for tag in tags.parsed.tags}  # type: ignore[union-attr]
    assert reasons["時間查詢"] == "要求中出現「哪一年」。"
    assert "JSON" in reasons["JSON 格式"]


def test_samples_of_a_response_differ_and_nothing_given_is_admitted(
    rules: Ask, passages: Passages
) -> None:
    passage, question = written(rules, passages[:1])[0]
    replies = {
        rules("respond", prompt=question.text, documents=[passage], sample=sample).text
        for sample in range(4)
    }
    assert len(replies) >= 2
    assert "無法回答" in rules("respond", prompt=question.text, documents=[]).text


def test_the_same_requests_give_the_same_completions(passages: Passages) -> None:
    def run() -> list[Completion]:
        requests = [
            ask(
                LIBRARY,
                one["passage_id"],
                "write_questions",
                "zh-TW",
                title=one["title"],
                text=one["text"],
                count=3,
                kinds=[],
            )
            for one in passages[:20]
        ]
        return list(ExtractiveTeacher().map(requests))

    assert run() == run()


def test_nobody_can_take_it_for_a_language_model(caplog: pytest.LogCaptureFixture) -> None:
    teacher = ExtractiveTeacher(ExtractiveOptions(name="told-once-rules"))
    with caplog.at_level(logging.WARNING):
        request = ask(LIBRARY, "row", "expand_query", "en", question="What is tea?")
        done = [*teacher.map([request]), *teacher.map([request])]
    assert {(c.teacher, c.teacher_kind) for c in done} == {("told-once-rules", "rules")}
    assert ExtractiveTeacher().name == "extractive-rules-v1"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with pytest.raises(ValidationError, match="must contain 'rules'"):
        ExtractiveOptions(name="gpt")


def test_written_questions_keep_their_type() -> None:
    assert set(WrittenQuestion.model_fields) == {"text", "kind", "answer", "evidence"}


TITLES = st.sampled_from(["茶", "板塊構造", "Tea", "X_(戲)"])
PROSE = st.text(
    alphabet=(
        "茶在於由是為的第哪一年月日三1990億公里位於《》「」，。：；（）因而被稱 \n.InThe by was 12%"
    ),
    max_size=200,
)


@given(TITLES, PROSE, st.sampled_from(["zh-TW", "en"]))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_only_literal_answers(title: str, text: str, language: str) -> None:
    for one in clozes(title, text, language):
        assert one.answer in one.evidence
        assert one.evidence in text
        assert one.answer not in one.question


@given(st.text("茶誰「」『』？\"'x", min_size=1, max_size=20), st.sampled_from(TEMPLATES))
def test_wrapping_a_question_can_be_undone(question: str, template: Template) -> None:
    asked = unwrap(wrap(template, question, "另一題？"))
    assert asked.questions[0] == question
    assert asked.form == template.form


@pytest.mark.conformance
def test_on_drcd_paragraphs(rules: Ask) -> None:
    """Own questions on 1,000 encyclopaedic paragraphs: enough of them, and answered exactly."""
    root = Path(__file__).parents[2]
    data = root / os.environ.get("KYARA_CONFORMANCE_DATA", "../shared/data")
    path = data / "corpora" / "drcd_dev_paragraphs.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent; set KYARA_CONFORMANCE_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    corpus = [{"passage_id": "id_0", "title": row["title"], "text": row["text"]} for row in rows]
    found = written(rules, corpus)
    exact = sum(
        rules(
            "answer_question",
            question=question.text,
            documents=[passage],
            style="brief",
            cite=False,
        ).text
        == question.answer
        for passage, question in found
    )
    assert len(found) / len(corpus) >= 1.5
    assert exact / len(found) >= 0.95
