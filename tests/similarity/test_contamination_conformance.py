"""Questions of public benchmarks among real instructions and paragraphs."""

import gzip
import json
import random

import opencc
import polars as pl
import pytest

from kyara_kedro.similarity.contamination import ContaminationIndex

from public_data import CONFORMANCE, DATA

pytestmark = CONFORMANCE

QUESTIONS = {
    "gsm8k": ("gsm8k/test.jsonl.gz", "question"),
    "tmmlu": ("tceval/tmmlu.jsonl.gz", "question"),
    "drcd": ("corpora/drcd_dev_questions.jsonl.gz", "query"),
    "alignbench": ("alignbench/data_v1.1_release.jsonl.gz", "question"),
    "mt_bench_tw": ("mt_bench_tw/question.jsonl", "turns"),
}
EVERY = 7
SCHEMA = {
    **dict.fromkeys(("benchmark", "item_id", "question"), pl.String),
    "choices": pl.List(pl.String),
    "answer": pl.String,
}
simplify, to_taiwan = (opencc.OpenCC(name).convert for name in ("t2s", "s2tw"))


def lines(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(DATA / path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def answer_of(row):
    if "answers" in row:
        return row["answers"][0]["text"]
    return row.get("answer", "").rpartition("#### ")[2]


@pytest.fixture(scope="module")
def items():
    rows = []
    for name, (path, column) in QUESTIONS.items():
        for number, row in enumerate(lines(path)):
            asked = row[column] if isinstance(row[column], str) else row[column][0]
            rows.append((name, str(number), asked, [], answer_of(row)))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.fixture(scope="module")
def index(items):
    return ContaminationIndex(items)


@pytest.fixture(scope="module")
def clean():
    return [
        f"{row['instruction']}\n{row['input']}\n{row['output']}"
        for language in ("zh", "en")
        for row in lines(f"instructions/alpaca_{language}_0-3252.jsonl.gz")
    ]


def frame(texts):
    ids = [str(number) for number in range(len(texts))]
    return pl.DataFrame({"id": ids, "text": texts}, schema={"id": pl.String, "text": pl.String})


def edited(text):
    rng = random.Random(text)
    place = rng.randrange(len(text))
    return text[:place] + rng.choice(("x", "", "的")) + text[place + 1 :]


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (str, 0.995),
        (simplify, 0.995),
        (to_taiwan, 0.995),
        (str.upper, 0.995),
        (edited, 0.9),
        (lambda text: text[: len(text) * 2 // 3], 0.8),
    ],
    ids=["verbatim", "simplified", "taiwan", "upper_case", "edited", "two_thirds"],
)
def test_planted_questions_are_found(index, items, clean, change, least):
    sample = items.gather_every(EVERY)
    texts = [
        f"{clean[number]}\n{change(question)}\n{clean[-number - 1]}"
        for number, question in enumerate(sample["question"])
    ]
    hits = set(index.search(frame(texts)).select("record_id", "benchmark", "item_id").rows())
    keys = enumerate(sample.select("benchmark", "item_id").rows())
    assert sum((str(number), *key) in hits for number, key in keys) >= least * len(texts)


def test_instructions_and_the_paragraphs_that_answer_are_clean(index, clean):
    paragraphs = [row["text"] for row in lines("corpora/drcd_dev_paragraphs.jsonl.gz")]
    assert not index.search(frame([*clean, *paragraphs, "\n".join(paragraphs)])).height


def test_other_questions_about_the_same_are_clean(items):
    asked = items.filter(pl.col("benchmark") == "drcd")
    index = ContaminationIndex(asked.gather_every(2))
    hits = index.search(frame(asked["question"].gather_every(2, offset=1).to_list()))
    assert hits["record_id"].n_unique() <= 3
