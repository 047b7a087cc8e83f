import json
import re
from typing import Any

import polars as pl
import pytest
import yaml

from kyara_kedro.reporting.model_card import (
    LOSS_PICTURE,
    Stage,
    Weights,
    model_card,
    model_summary,
    notices,
)

WEIGHTS = Weights("gemma2", 2_614_341_888, 8192)
FLOW = {"in": 9, "out": 2, "held_out": 0, "dropped": {"over_max_length": 7}}
SFT = {"kind": "sft", "learning_rate": 1e-6, "packing": True}


def conversations(**changes: Any) -> pl.DataFrame:
    row = {
        "source": "knowledge|brief",
        "licence": "CC0-1.0",
        "language": "zh-Hant-TW",
        "teacher": "extractive-rules-v1",
        **changes,
    }
    return pl.DataFrame([row, row], infer_schema_length=None)


def pairs(licence: str = "CC0-1.0") -> pl.DataFrame:
    return pl.DataFrame({"source": ["rlaif"], "licence": [licence], "judge": ["gpt-4o"]})


def curves() -> pl.DataFrame:
    points = [
        (stage, step, metric, value)
        for stage in ("sft_base", "dpo")
        for step, metric, value in (
            (20, "loss", 0.25),
            (1, "loss", 7.5),
            (20, "num_tokens", 113_860.0),
            (1, "num_tokens", 5_000.0),
        )
    ]
    return pl.DataFrame(points, ["stage", "step", "metric", "value"], orient="row")


def scores() -> pl.DataFrame:
    found = (("base", 0.31), ("champion", 0.39), ("dpo", 0.42), ("a/model", 0.2))
    rows = [
        ("tmmlu", "accuracy", part, model, score, score - 0.05, score + 0.05, 40)
        for model, score in found
        for part in ("all", "STEM", "STEM/physics")
    ]
    rows.append(("mt", "score", "all", "dpo", 7.4321, 7.0, 7.9, 160))
    columns = ["benchmark", "metric", "part", "model", "score", "low", "high", "items"]
    return pl.DataFrame(rows, columns, orient="row")


def summary(base: str = "embedded", weights: Weights = WEIGHTS, **changes: Any) -> dict[str, Any]:
    """What there is to say about a model of two stages; ``changes`` are those of the rows."""
    reference = {"base": base, "fingerprint": "f" * 32}
    stages = {
        "sft_base": Stage(conversations(**changes), FLOW, SFT),
        "dpo": Stage(pairs(changes.get("licence", "CC0-1.0")), FLOW, {"kind": "dpo", "beta": 0.1}),
    }
    promotion = {"model": "kyara", "candidate": 3, "verdict": "reject", "reasons": ["✗ too *bad*"]}
    scales = {"accuracy": "share", "score": "rating"}
    return model_summary(reference, weights, stages, curves(), scores(), scales, promotion)


def front_matter(card: str) -> dict[str, Any]:
    fields: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return fields


def both(card: str) -> tuple[str, str]:
    _, _, english, chinese = re.split(r"^---\n", card, flags=re.MULTILINE)
    return english, chinese


def test_the_card_says_in_both_languages_what_the_tables_hold() -> None:
    found = summary()
    json.dumps(found)
    for text in both(model_card(found)):
        assert "**2,614,341,888**" in text
        assert r"| sft\_base | knowledge\|brief | 2 |" in text
        assert "| dpo | gpt-4o | 1 |" in text
        assert re.search(
            r"\| sft\\_base \| sft \| 9 \| 2 \| 0 \| 113,860 \| 7\.5 (to|到) 0\.25 \|", text
        )
        assert r"| sft\_base | over\_max\_length | 7 |" in text
        assert r"| learning\_rate | 1e-06 | – |" in text
        assert "| CC0-1.0 | 3 |" in text
        scored = "0.310 [0.260, 0.360] | 0.420 [0.370, 0.470] | 0.390 [0.340, 0.440]"
        assert f"| tmmlu | accuracy | 40 | {scored} | 0.200 [0.150, 0.250] |" in text
        assert text.count("| tmmlu |") == 1
        assert "| mt | score | 160 | – | 7.43 [7.00, 7.90] | – | – |" in text
        assert "**reject**" in text
        assert r"✗ too \*bad\*" in text
        assert f"]({LOSS_PICTURE})" in text
        assert "f" * 32 in text
        assert "{{" not in text
        assert all(_columns(table) for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE))


def _columns(table: str) -> bool:
    """Whether all rows of a table have the same number of cells, and there is a row."""
    rows = [re.sub(r"\\\|", "", line).count("|") for line in table.splitlines()]
    return len(rows) > 2 and len(set(rows)) == 1


def test_a_demonstration_and_a_teacher_of_rules_are_never_mistaken() -> None:
    card = model_card(summary())
    english, chinese = both(card)
    assert "This is a demonstration model, not an assistant" in english
    assert "這是示範模型，不是助理" in chinese
    assert "Its teacher is not a large language model.**" in english
    assert {"demonstration", "rule-based-teacher"} <= set(front_matter(card)["tags"])
    real = model_card(summary("google/gemma-2-2b-it", teacher="gpt-4o"))
    assert "demonstration" not in real
    assert "示範" not in real
    assert "rules that pick" not in real


@pytest.mark.parametrize(
    ("base", "architecture", "licences", "licence", "on_hub"),
    [
        ("embedded", "gemma2", "CC0-1.0", "cc0-1.0", False),
        ("embedded", "gemma2", "house rules", "other", False),
        ("google/gemma-2-2b-it", "gemma2", "CC-BY-NC-4.0", "gemma", True),
        ("/home/ann/models/renamed", "gemma2", "CC0-1.0", "gemma", False),
        ("someone/llama", "llama", "CC0-1.0", "other", True),
    ],
)
def test_the_licence_follows_from_the_base_and_from_the_data(
    base: str, architecture: str, licences: str, licence: str, on_hub: bool
) -> None:
    found = summary(base, WEIGHTS._replace(architecture=architecture), licence=licences)
    card = model_card(found)
    fields = front_matter(card)
    assert fields["license"] == licence
    assert ("license_name" in fields) == (licence == "other")
    assert fields.get("base_model") == (base if on_hub else None)
    assert licences in card
    assert "/home/ann" not in card
    assert ("Notice" in notices(found)) == (licence == "gemma")
    assert ("ai.google.dev/gemma/terms" in card) == (licence == "gemma")


def test_what_it_was_not_shown_is_not_promised() -> None:
    assert "It was not shown reference documents" in model_card(summary())
    assert "cites the document of a statement" in model_card(summary(source="rag"))


def test_data_sets_of_the_hub_are_named_in_the_front_matter() -> None:
    fields = front_matter(model_card(summary(source="teknium/OpenHermes-2.5")))
    assert fields["datasets"] == ["teknium/OpenHermes-2.5"]
    assert fields["language_bcp47"] == ["zh-Hant-TW"]
