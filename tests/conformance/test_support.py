"""Lexical support of citations on encyclopaedia paragraphs and people's questions (DRCD, dev)."""

import gzip
import json
import os
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import opencc
import pytest

from kyara_kedro.pipelines.synthesize.elimination import leans_on_document
from kyara_kedro.prompts.library import REFUSAL
from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.citations import THRESHOLD, supported
from kyara_kedro.text.quotes import locate
from kyara_kedro.text.refusals import refusal_kind

ROOT = Path(__file__).parents[2]
CORPORA = ROOT / os.environ.get("KYARA_CONFORMANCE_DATA", "../shared/data") / "corpora"
pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(
        not (CORPORA / "drcd_dev_questions.jsonl.gz").is_file(),
        reason=f"no DRCD in {CORPORA}; set KYARA_CONFORMANCE_DATA",
    ),
]
Row = dict[str, Any]


def read(name: str) -> list[Row]:
    with gzip.open(CORPORA / f"drcd_dev_{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def paragraphs() -> list[Row]:
    return read("paragraphs")


@pytest.fixture(scope="module")
def questions() -> list[Row]:
    return read("questions")


def accepted(pairs: list[tuple[str, Row, str]]) -> float:
    """Share of (sentence, paragraph, question) that count as supported."""
    scores = [
        supported(sentence, [f"{row['title']}\n{row['text']}"], question).score
        for sentence, row, question in pairs
    ]
    return sum(score >= THRESHOLD for score in scores) / len(scores)


def test_sentences_count_for_their_own_paragraph_only(
    paragraphs: list[Row], questions: list[Row]
) -> None:
    rng, simplified = Random(7), opencc.OpenCC("t2s").convert
    by_id = {row["doc_id"]: row for row in paragraphs}
    articles = defaultdict(list)
    for row in paragraphs:
        articles[row["article_id"]].append(row)
    own, reworded, elsewhere = [], [], []
    for question in questions[::4]:
        row, asked = by_id[question["doc_id"]], question["query"]
        place = question["answers"][0]["start"]
        said = next(s.of(row["text"]) for s in sentences(row["text"]) if s.start <= place < s.end)
        own.append((simplified(said), row, asked))
        clauses = [clause for clause in said.rstrip("。！？；").split("，") if clause]
        reworded.append((f"根據參考文件，{'，'.join(clauses[1:] + clauses[:1])}。", row, asked))
        others = [other for other in articles[row["article_id"]] if said not in other["text"]]
        if others:
            elsewhere.append((said, rng.choice(others), asked))
    assert accepted(own) >= 0.99
    assert accepted(reworded) >= 0.98
    assert len(elsewhere) > 500
    assert accepted(elsewhere) <= 0.015


def test_sentences_of_other_articles_are_denied_even_where_a_model_decides(
    paragraphs: list[Row], questions: list[Row]
) -> None:
    rng = Random(7)
    by_id = {row["doc_id"]: row for row in paragraphs}
    own, elsewhere = [], []
    for question in questions[::4]:
        row, asked = by_id[question["doc_id"]], question["query"]
        place = question["answers"][0]["start"]
        said = next(s.of(row["text"]) for s in sentences(row["text"]) if s.start <= place < s.end)
        other = rng.choice(paragraphs)
        own.append(supported(said, [f"{row['title']}\n{row['text']}"], asked).denied())
        if other["article_id"] != row["article_id"]:
            text = f"{other['title']}\n{other['text']}"
            elsewhere.append(supported(said, [text], asked).denied())
    assert sum(own) <= 0.005 * len(own)
    assert sum(elsewhere) >= 0.93 * len(elsewhere)


def test_no_sentence_of_an_encyclopaedia_is_a_refusal(paragraphs: list[Row]) -> None:
    found = [
        sentence.of(row["text"])
        for row in paragraphs[::5]
        for sentence in sentences(row["text"])
        if refusal_kind(sentence.of(row["text"]), "zh-TW", REFUSAL["zh-TW"])
    ]
    assert not found


def test_questions_of_people_lean_on_a_text_only_where_they_say_so(questions: list[Row]) -> None:
    found = [row["query"] for row in questions if leans_on_document(row["query"], "zh-TW")]
    assert 20 <= len(found) <= 30
    assert all("文中" in text or "文章中" in text for text in found)


def test_simplified_sentences_are_located(paragraphs: list[Row]) -> None:
    simplified = opencc.OpenCC("t2s").convert
    for row in paragraphs[::10]:
        for sentence in sentences(row["text"]):
            said = sentence.of(row["text"])
            if len(said) >= 12:
                span = locate(f"「{simplified(said)}」", row["text"])
                assert span
                assert span.of(row["text"]).strip("。；！？」”…") in said
