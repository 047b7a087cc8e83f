"""Real sentence pairs and instructions: what merges, and what must not."""

import gzip
import json
import os
import random
import re
from pathlib import Path

import numpy as np
import opencc
import polars as pl
import pytest

from kyara_kedro.records import BENCHMARK_QUESTION
from kyara_kedro.similarity.contamination import find_contamination
from kyara_kedro.similarity.exact import exact_groups
from kyara_kedro.similarity.guards import claims
from kyara_kedro.similarity.lexical import LexicalIndex, LexicalOptions
from kyara_kedro.similarity.resolve import find_duplicates
from kyara_kedro.similarity.shingles import tokenise

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("KYARA_CONFORMANCE_DATA", ROOT.parent / "shared" / "data"))

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}; set KYARA_CONFORMANCE_DATA"),
]

OPTIONS = LexicalOptions()
COLUMNS = {
    "afqmc_dev": (0, 1, 2),
    "lcqmc_dev": (0, 1, 2),
    "pawsx_zh_dev": (1, 2, 3),
    "mrpc_train": (3, 4, 0),
}


def lines(path):
    with gzip.open(DATA / path, "rt", encoding="utf-8-sig") as file:
        yield from file


def sentence_pairs(name):
    for line in lines(f"near_dup/{name}.tsv.gz"):
        cells = line.rstrip("\n").split("\t")
        one, other, label = (cells[column] for column in COLUMNS[name])
        if label in "01":
            yield one, other, int(label)


def instructions(language):
    for line in lines(f"instructions/alpaca_{language}_0-3252.jsonl.gz"):
        row = json.loads(line)
        yield f"{row['instruction']}\n{row['input']}\n{row['output']}"


def merged(pairs):
    """The pairs that exact or lexical comparison calls copies, all in one index."""
    texts = [text for pair in pairs for text in pair]
    groups = exact_groups(texts)
    table = tokenise(texts)
    index = LexicalIndex(texts, OPTIONS)
    index.add(0, table)
    index.buckets()
    left, right = np.arange(0, len(texts), 2), np.arange(1, len(texts), 2)
    copies = (groups[left] == groups[right]) & (groups[left] >= 0)
    usable = np.minimum(table.lengths[left], table.lengths[right]) >= OPTIONS.minimum_tokens
    copies[usable] |= index.similarity(left[usable], right[usable]) > 0
    return [pair for pair, copy in zip(pairs, copies.tolist(), strict=True) if copy]


@pytest.mark.parametrize(
    ("name", "most"),
    [("afqmc_dev", 3), ("lcqmc_dev", 20), ("pawsx_zh_dev", 160), ("mrpc_train", 6)],
)
def test_pairs_that_people_call_different(name, most):
    found = merged([(one, other) for one, other, label in sentence_pairs(name) if not label])
    assert len(found) <= most
    assert not [pair for pair in found if len({tuple(re.findall(r"\d+", t)) for t in pair}) > 1]


def planted(change):
    originals = [text for text in instructions("zh") if len(text) >= 20]
    copies = [change(text) for text in originals]
    texts = pl.DataFrame(
        {
            "id": [f"o{n}" for n in range(len(originals))] + [f"c{n}" for n in range(len(copies))],
            "text": originals + copies,
            "quality": [1.0] * len(originals) + [0.5] * len(copies),
        }
    )
    found = dict(find_duplicates(texts).select("removed_id", "kept_id").iter_rows())
    fair = [n for n in range(len(copies)) if claims(originals[n]) == claims(copies[n])]
    recall = sum(f"c{n}" in found for n in fair) / len(fair)
    strangers = sum(removed[1:] != kept[1:] for removed, kept in found.items())
    return recall, strangers


def edited(text):
    rng = random.Random(text)
    letters = list(text)
    for _ in range(max(1, len(letters) // 100)):
        place = rng.randrange(len(letters))
        letters[place] = rng.choice([rng.choice("的是了在有人這中大來"), "", letters[place] + "也"])
    return "".join(letters)


@pytest.mark.parametrize(
    ("change", "recall"),
    [
        (edited, 0.98),
        (opencc.OpenCC("s2tw").convert, 0.99),
        (lambda text: re.sub("[，。；：、！？]", " ", text), 0.99),
    ],
    ids=["one_percent_edits", "traditional_copy", "punctuation"],
)
def test_planted_copies_are_found_and_strangers_left_alone(change, recall):
    found, strangers = planted(change)
    assert found >= recall
    assert strangers <= 3


def test_benchmark_questions_planted_in_real_instructions():
    asked = [json.loads(line)["question"] for line in lines("gsm8k/test.jsonl.gz")]
    asked += [json.loads(line)["question"] for line in lines("tceval/tmmlu.jsonl.gz")]
    questions = BENCHMARK_QUESTION.frame(
        {
            "id": str(number),
            "benchmark": "planted",
            "item_id": str(number),
            "kind": "open",
            "question": text,
            "choices": [],
            "answer": "x",
            "aliases": [],
            "stratum": "",
            "source": "test",
            "licence": "CC0-1.0",
            "language": "zh",
        }
        for number, text in enumerate(asked)
    )
    clean = [*instructions("zh"), *instructions("en")]
    simplify = opencc.OpenCC("t2s").convert
    sample = range(0, len(asked), 9)
    leaks = [f"{clean[n]}\n{simplify(asked[n])}" for n in sample]
    texts = pl.DataFrame(
        {
            "id": [f"clean{n}" for n in range(len(clean))] + [str(n) for n in sample],
            "text": clean + leaks,
        }
    )
    found = find_contamination(texts, questions)
    hits = set(found.select("record_id", "item_id").iter_rows())
    assert sum((str(n), str(n)) in hits for n in sample) >= 0.99 * len(sample)
    assert not found.filter(pl.col("record_id").str.starts_with("clean")).height
