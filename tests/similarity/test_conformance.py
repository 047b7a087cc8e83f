"""Real sentence pairs and instructions: what merges, and what must not."""

import gzip
import json
import random
import re

import opencc
import polars as pl
import pytest

from kyara_kedro.similarity.guards import claims
from kyara_kedro.similarity.lexical import LexicalOptions, find_pairs
from kyara_kedro.similarity.resolve import resolve

from public_data import CONFORMANCE, DATA

pytestmark = CONFORMANCE

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


def removed(texts, quality=None, labels=None):
    """Who goes for whom, by number."""
    table = pl.DataFrame(
        {
            "id": [f"{n:06}" for n in range(len(texts))],
            "text": texts,
            "quality": quality or [0.5] * len(texts),
            "label": labels or [0] * len(texts),
        }
    )
    found = resolve(find_pairs([table], OPTIONS), {"lexical": OPTIONS.threshold})
    return {int(one): int(kept) for one, kept in found.select("removed_id", "kept_id").iter_rows()}


def merged(pairs):
    """The pairs of which one sentence goes for the other."""
    texts = [text for pair in pairs for text in pair]
    gone = removed(texts, labels=[n // 2 for n in range(len(texts))])
    return [pairs[n] for n in sorted({number // 2 for number in gone})]


@pytest.mark.parametrize(
    ("name", "most"),
    [("afqmc_dev", 3), ("lcqmc_dev", 40), ("pawsx_zh_dev", 160), ("mrpc_train", 6)],
)
def test_pairs_that_people_call_different(name, most):
    found = merged([(one, other) for one, other, label in sentence_pairs(name) if not label])
    assert len(found) <= most
    assert not [pair for pair in found if len({tuple(re.findall(r"\d+", t)) for t in pair}) > 1]


def planted(change):
    originals = [text for text in instructions("zh") if len(text) >= 20]
    copies = [change(text) for text in originals]
    count = len(originals)
    found = removed([*originals, *copies], quality=[1.0] * count + [0.5] * count)
    fair = [n for n in range(count) if claims(originals[n]) == claims(copies[n])]
    recall = sum(n + count in found for n in fair) / len(fair)
    strangers = sum(one % count != kept % count for one, kept in found.items())
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
