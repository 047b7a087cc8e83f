"""Real requests through the embedded tagger and all four steps."""

import gzip
import json

import pytest

from kyara_kedro.quality.coverage import complexity, coverage
from kyara_kedro.quality.tag_normalisation import (
    NormalisationOptions,
    apply_tag_map,
    build_tag_map,
    minimum_frequency,
    rule_key,
)
from kyara_kedro.quality.tags import Request, tag_by_replies, tag_by_rules
from kyara_kedro.records import TAG_MAP, TAGS
from kyara_kedro.text.intentions import explain_intentions

from public_data import CONFORMANCE, DATA

pytestmark = CONFORMANCE


def lines(name):
    with gzip.open(DATA / f"instructions/{name}.jsonl.gz", "rt", encoding="utf-8-sig") as file:
        yield from map(json.loads, file)


@pytest.fixture(scope="module")
def requests():
    texts = [
        *(f"{row['instruction']}\n{row['input']}" for row in lines("alpaca_zh_0-3252")),
        *(f"{row['instruction']}\n{row['input']}" for row in lines("alpaca_en_0-3252")),
        *(f"{row['instruction']}" for row in lines("belle_zh_seed_tasks")),
        *(row["Instruction"] for row in lines("wizardlm_testset")),
    ]
    return [Request(f"{number:05}", [text], False) for number, text in enumerate(texts)]


def test_the_embedded_tagger_on_real_requests(requests):
    tagged = tag_by_rules(requests)
    tag_map, left = build_tag_map(tagged.raw, examples=tagged.examples)
    tags = TAGS.validate(apply_tag_map(tagged.raw, TAG_MAP.validate(tag_map)))
    assert list(left.values()) == sorted(left.values(), reverse=True)
    assert left["edited"] >= 50
    found = complexity(tags)
    assert found["untagged"] <= 5 and found["mean"] > 1.7
    assert tag_map.filter(tag_map["explanation"] == "")["raw"].to_list() == ["一般任務"]
    curves = coverage(tags.sort("complexity", descending=True))
    middle = len(curves.ordered) // 2
    assert curves.ordered[middle][1] > curves.random[middle][1]


SPELLINGS = (
    str,
    lambda tag: f"{tag}類",
    lambda tag: f" {tag}。",
    lambda tag: f"相關的{tag}",
)


def test_what_a_careless_tagger_writes_comes_together_again(requests):
    """The rules' tags in four spellings, with rare ones beside them and one implied."""
    replies = []
    for number, request in enumerate(requests):
        tags = [tag for tag, _ in explain_intentions(request.turns[0])]
        spelled = [SPELLINGS[number % 4](tag) for tag in tags]
        implied = ["算術題"] if "數學計算" in tags else []
        replies.append((request, "m", dict.fromkeys([*spelled, *implied, f"罕見{number}"], "")))
    raw, examples = tag_by_replies(replies)
    plain = tag_by_rules(requests).raw
    tag_map, left = build_tag_map(raw, NormalisationOptions(support=40), examples=examples)
    steps = dict(tag_map.group_by("step").len().iter_rows())
    assert steps["frequency"] >= len(requests)
    assert steps["rule"] > 100 and steps["association"] == 1
    names = set(plain["raw_tags"].explode())
    finals = tag_map.drop_nulls("final")["final"].unique().to_list()
    keys = [rule_key(final) for final in finals]
    assert len(set(keys)) == len(keys)
    assert set(keys) <= {rule_key(name) for name in names}
    assert left["association"] == left["rule"] - 1 <= len(names)
    assert minimum_frequency(len(requests)) == 2
