"""The extractive teacher finds what is asked, cites what exists, and is quick about it.

Reads Wikipedia paragraphs and human questions with answers (DRCD, or any files of its form), puts
all paragraphs into the knowledge base, retrieves five for each question and has the teacher answer
in at most two cited sentences. The teacher also writes questions of its own and answers those.

Files are JSON lines, gzip or not: paragraphs with ``doc_id``, ``title``, ``text``; questions with
``query``, ``doc_id`` and ``answers`` (each with ``text``). Titles are split in two by their hash:
the rules were made by looking at half A of DRCD's development set and were only measured on half B.

An own question asks for the span that was taken out of its sentence. The teacher recognises it by
making the questions of the retrieved paragraphs again, so its share says that questions are not
ambiguous and their paragraphs are found; people's questions show how well it ranks sentences.

Whether own questions read well is no figure of this script: it prints a fixed sample, whose labels
stand in ``extractive_audit.md``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore
from kyara_kedro.prompts import REFUSAL, PromptLibrary
from kyara_kedro.records import content_id
from kyara_kedro.teachers.base import ChatRequest, ask
from kyara_kedro.teachers.extractive import ExtractiveTeacher
from kyara_kedro.teachers.rules.evidence import relevance
from kyara_kedro.teachers.tasks import KINDS
from kyara_kedro.text.citations import CITATION, cited
from kyara_kedro.text.fold import fold

DATA = Path(__file__).parents[1] / os.environ.get("KYARA_CONFORMANCE_DATA", "../shared/data")
AUDIT = Path(__file__).with_name("extractive_audit.md")
LANGUAGE = "zh-TW"
RETRIEVED = 5
SEARCHED = 15
"""Deep enough to find five passages of other articles."""
QUESTIONS_A_PARAGRAPH = 3
SAMPLE = 60
BARS = {
    "human_fact_in_answer": 0.87,
    "own_fact_in_answer": 0.96,
    "valid_citations": 1.0,
    "pairs_per_second": 300.0,
    "relevance_auc": 0.96,
}


@dataclass(frozen=True)
class Asked:
    """A question and what is known about it.

    Attributes:
        text: The question.
        source: Passage id of the paragraph that holds the answer.
        golds: Accepted answers.
        kind: Kind of an own question; empty for a human one.
    """

    text: str
    source: str
    golds: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True)
class Corpus:
    """Paragraphs by passage id, as the tasks take them, and the questions of people."""

    passages: dict[str, dict[str, str]]
    human: list[Asked]

    def half(self, passage_id: str) -> str:
        """A, the half that was looked at, or B, the half that was only measured."""
        return "AB"[int(content_id(self.passages[passage_id]["title"])[:8], 16) % 2]


def read_lines(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_corpus(paragraphs: Path, questions: Path, limit: int | None = None) -> Corpus:
    """Read all paragraphs and all questions, or ``limit`` of them, drawn by their hash."""
    passages, names = {}, {}
    for row in read_lines(paragraphs):
        name = f"id_{content_id(row['doc_id'], row['title'], row['text'])[:12]}"
        names[row["doc_id"]] = name
        passages[name] = {"passage_id": name, "title": row["title"], "text": row["text"]}
    human = [
        Asked(row["query"], names[row["doc_id"]], tuple(one["text"] for one in row["answers"]))
        for row in read_lines(questions)
        if row["doc_id"] in names
    ]
    drawn = sorted(human, key=lambda one: content_id(one.source, one.text))
    return Corpus(passages, human if limit is None else drawn[:limit])


def retrieve(corpus: Corpus, questions: Sequence[str], store: KnowledgeStore) -> list[list[str]]:
    """The best passages of each question, best first, by the knowledge base."""
    found: list[list[str]] = [[] for _ in questions]
    for row in store.search(questions, SEARCHED).iter_rows(named=True):
        found[row["query"]].append(row["passage_id"])
    return found


def knowledge_base(corpus: Corpus, folder: Path) -> KnowledgeStore:
    store = KnowledgeStore(KnowledgeOptions(path=folder / "knowledge_base"))
    store.build(
        pl.DataFrame(list(corpus.passages.values())).with_columns(
            document_id="passage_id", language=pl.lit("zh-Hant-TW")
        )
    )
    return store


def writing(corpus: Corpus, library: PromptLibrary) -> Iterable[ChatRequest]:
    for name, passage in corpus.passages.items():
        yield ask(
            library,
            name,
            "write_questions",
            LANGUAGE,
            title=passage["title"],
            text=passage["text"],
            count=QUESTIONS_A_PARAGRAPH,
            kinds=list(KINDS),
        )


def answering(
    corpus: Corpus, asked: Sequence[Asked], found: Sequence[Sequence[str]], library: PromptLibrary
) -> Iterable[ChatRequest]:
    for one, names in zip(asked, found, strict=True):
        yield ask(
            library,
            content_id(one.source, one.text),
            "answer_question",
            LANGUAGE,
            question=one.text,
            documents=[corpus.passages[name] for name in names[:RETRIEVED]],
            style="detailed",
            cite=True,
        )


def own_questions(
    corpus: Corpus, teacher: ExtractiveTeacher, library: PromptLibrary
) -> list[Asked]:
    return [
        Asked(question.text, reply.row_id, (question.answer,), question.kind)
        for reply in teacher.map(writing(corpus, library))
        for question in reply.parsed.questions  # type: ignore[union-attr]
    ]


def holds_fact(answer: str, golds: Sequence[str]) -> bool:
    said = fold(CITATION.sub("", answer))
    return any(fold(gold) in said for gold in golds)


def is_valid(answer: str, given: Iterable[str]) -> bool:
    """Whether an answer is the exact refusal, or has citations, of given passages only."""
    names = set(cited(answer))
    return answer == REFUSAL[LANGUAGE] or (bool(names) and names <= set(given))


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Chance that a positive scores above a negative; ties count half."""
    low = np.sort(np.array(negative))
    high = np.array(positive)
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(below.mean() / 2 / len(low))


def relevance_scores(
    corpus: Corpus, asked: Sequence[Asked], found: Sequence[Sequence[str]]
) -> tuple[list[float], list[float]]:
    """Relevance of each question's own paragraph, and of the best hit in another article."""
    own, other = [], []
    for one, names in zip(asked, found, strict=True):
        own.append(relevance(one.text, corpus.passages[one.source]))
        hard = other_articles(corpus, one, names)[:1]
        other += [relevance(one.text, corpus.passages[name]) for name in hard]
    return own, other


def other_articles(corpus: Corpus, asked: Asked, found: Sequence[str]) -> list[str]:
    """The retrieved passages of other articles than the question's."""
    title = corpus.passages[asked.source]["title"]
    return [name for name in found if corpus.passages[name]["title"] != title]


def figures(
    asked: Sequence[Asked], found: Sequence[Sequence[str]], answers: Sequence[str]
) -> dict[str, float]:
    """Shares over some questions."""
    rows = list(zip(asked, found, answers, strict=True))
    total = max(1, len(rows))
    return {
        "questions": len(rows),
        "own paragraph retrieved": sum(a.source in f[:RETRIEVED] for a, f, _ in rows) / total,
        "asked fact in the answer": sum(holds_fact(said, a.golds) for a, _, said in rows) / total,
        "own paragraph cited": sum(f"【{a.source}】" in said for a, _, said in rows) / total,
        "valid citations or the exact refusal": sum(
            is_valid(said, f[:RETRIEVED]) for _, f, said in rows
        )
        / total,
        "refusals": refused([said for *_, said in rows]),
        "sentences": sum(len(CITATION.findall(said)) for *_, said in rows) / total,
        "characters": sum(len(CITATION.sub("", said)) for *_, said in rows) / total,
    }


def refused(answers: Sequence[str]) -> float:
    return sum(one == REFUSAL[LANGUAGE] for one in answers) / max(1, len(answers))


def measure(corpus: Corpus, folder: Path) -> tuple[dict[str, Any], list[Asked]]:
    """All figures by kind of question and half, and the teacher's own questions."""
    teacher, library = ExtractiveTeacher(), PromptLibrary()
    with knowledge_base(corpus, folder) as store:
        started = time.perf_counter()
        own = own_questions(corpus, teacher, library)
        wrote = time.perf_counter() - started
        asked = {"human": corpus.human, "own": own}
        found = {
            name: retrieve(corpus, [one.text for one in some], store)
            for name, some in asked.items()
        }
    started = time.perf_counter()
    replies = {"own": teacher.map(answering(corpus, own, found["own"], library))}
    answers = {"own": [one.text for one in replies["own"]]}
    answered = time.perf_counter() - started
    answers["human"] = [
        one.text for one in teacher.map(answering(corpus, corpus.human, found["human"], library))
    ]
    result: dict[str, Any] = {
        "pairs per second": len(own) / (wrote + answered),
        "questions written per second": len(own) / wrote,
        "answers per second": len(own) / answered,
        "paragraphs": len(corpus.passages),
        "paragraphs with a question": len({one.source for one in own}),
        "kinds": {kind: sum(one.kind == kind for one in own) for kind in KINDS},
    }
    strange = [
        other_articles(corpus, *pair) for pair in zip(corpus.human, found["human"], strict=True)
    ]
    told = teacher.map(answering(corpus, corpus.human, strange, library))
    without = [one.text for one in told]
    for half in ("all", "A", "B"):
        for name in ("human", "own"):
            places = [
                place
                for place, one in enumerate(asked[name])
                if half in ("all", corpus.half(one.source))
            ]
            some, hits, said = (
                [rows[place] for place in places]
                for rows in (asked[name], found[name], answers[name])
            )
            result[f"{name} {half}"] = figures(some, hits, said)
            if name == "human" and places:
                result[f"human {half}"] |= {
                    "refusals without its article": refused([without[place] for place in places]),
                    "relevance AUC": auc(*relevance_scores(corpus, some, hits)),
                }
    return result, own


def sample(own: Sequence[Asked]) -> list[Asked]:
    """The questions whose ids hash lowest: fixed, and nobody chose them."""
    return sorted(own, key=lambda one: content_id("audit", 6, one.source, one.text))[:SAMPLE]


def printed(result: dict[str, Any]) -> None:
    columns = [f"{name} {half}" for name in ("human", "own") for half in ("all", "A", "B")]
    print(f"{'':38}" + "".join(f"{column:>11}" for column in columns))
    for row in result["human all"]:
        cells = [result[column].get(row) for column in columns]
        shown = ["" if c is None else f"{c:,}" if isinstance(c, int) else f"{c:.3f}" for c in cells]
        print(f"{row:38}" + "".join(f"{cell:>11}" for cell in shown))
    for name, value in result.items():
        if not isinstance(value, dict):
            print(f"{name}: {value:,.0f}")
    print("kinds of own questions:", result["kinds"])
    print(
        "timed: requests, prompts and replies of writing all questions and answering them, from "
        "cold caches; not the index and the retrieval"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    corpora = DATA / "corpora"
    parser.add_argument("--paragraphs", type=Path, default=corpora / "drcd_dev_paragraphs.jsonl.gz")
    parser.add_argument("--questions", type=Path, default=corpora / "drcd_dev_questions.jsonl.gz")
    parser.add_argument("--quick", action="store_true", help="only 500 of the human questions")
    options = parser.parse_args()
    for path in (options.paragraphs, options.questions):
        if not path.is_file():
            print(f"{path}: no such file; set KYARA_CONFORMANCE_DATA or name the file")
            return 2
    corpus = read_corpus(options.paragraphs, options.questions, 500 if options.quick else None)
    with tempfile.TemporaryDirectory() as folder:
        result, own = measure(corpus, Path(folder))
    print(f"{options.paragraphs.name}; {platform.machine()}, {os.cpu_count()} cores, one process")
    print("half A: articles that the rules were made by (of DRCD dev); half B: only measured")
    printed(result)
    print(f"\nA fixed sample of {SAMPLE} own questions; their labels by reading: {AUDIT.name}")
    for number, one in enumerate(sample(own), 1):
        print(f"{number:3} [{one.kind}] {one.text} -> {one.golds[0]}")
    values = {
        "human_fact_in_answer": result["human all"]["asked fact in the answer"],
        "own_fact_in_answer": result["own all"]["asked fact in the answer"],
        "valid_citations": min(
            result[f"{name} all"]["valid citations or the exact refusal"]
            for name in ("human", "own")
        ),
        "pairs_per_second": result["pairs per second"],
        "relevance_auc": result["human all"]["relevance AUC"],
    }
    bars = {
        name: {"value": round(values[name], 4), "bar": bar, "holds": values[name] >= bar}
        for name, bar in BARS.items()
    }
    print(json.dumps({"benchmark": "extractive", "figures": result, "bars": bars}))
    return 0 if all(bar["holds"] for bar in bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
