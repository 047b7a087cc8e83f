"""Preference pairs on their way from a table to what the trainer learns."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kyara_kedro.pipelines.ingest.pairs import joined
from kyara_kedro.records import PREFERENCE
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.loading import load_tokenizer
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import EmbeddedModelOptions
from kyara_kedro.training.rows import Choice, NothingToLearn, Selection, select_pairs
from kyara_kedro.training.tokens import open_tokens

from support import ROOT

STEPS = [
    json.loads(line)
    for line in Path(ROOT, "data/01_raw/sample/preferences/math_step.jsonl")
    .read_text("utf-8")
    .splitlines()[:6]
]
"""Rows as Math-Step-DPO-10K has them."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    folder = tmp_path_factory.mktemp("model") / "base"
    options = EmbeddedModelOptions(vocabulary=512, hidden=32, layers=1, intermediate=32)
    return build_embedded_base(["玉山主峰海拔3,952公尺。"] * 4, options, folder)


def pair(name: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(PREFERENCE.columns)
    return row | {
        "id": name,
        "kind": "conversation",
        "prompt": [{"role": "user", "content": "玉山多高？"}],
        "chosen": "3,952公尺。",
        "rejected": "3公尺。",
        "source": "self_play",
        "judged_orders": 0,
        "parents": [name],
        "licence": "CC0-1.0",
        **changes,
    }


def step(name: str, row: dict[str, str], prefix: str) -> dict[str, Any]:
    """A pair of a next step, as ingest makes it."""
    head, (chosen, rejected) = joined(prefix, row["chosen"], row["rejected"])
    asked = [{"role": "user", "content": row["prompt"]}]
    return pair(
        name, kind="continuation", prompt=asked, prefix=head, chosen=chosen, rejected=rejected
    )


def selected(start: ModelRef, rows: list[dict[str, Any]], choice: Choice, at: Path) -> Selection:
    table: pl.DataFrame = PREFERENCE.validate(PREFERENCE.frame(rows))
    return select_pairs(table.lazy(), start, choice, at / "tokens")


def test_a_step_continues_an_open_turn_and_alone_is_learned(
    start: ModelRef, tmp_path: Path
) -> None:
    """From a row of step-wise data through table and store to the batch that TRL makes of it."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    rows = [step(f"{n}", row, row["initial_reason_steps"]) for n, row in enumerate(STEPS)]
    rows.append(step("first", STEPS[0], ""))
    rows.append(pair("whole"))
    store = open_tokens(selected(start, rows, Choice(4096), tmp_path).tokens)
    tokenizer = load_tokenizer(start)
    examples = [
        {
            name: getattr(store.row(number), name).tolist()
            for name in ("prompt_ids", "chosen_ids", "rejected_ids")
        }
        for number in range(len(store))
    ]
    batch = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)(examples)
    by_id = {row["id"]: row for row in rows}
    for number, name in enumerate(store.ids):
        row = by_id[name]
        for half, side in enumerate(("chosen", "rejected")):
            at = half * len(store) + number
            seen = batch["input_ids"][at][batch["attention_mask"][at].bool()]
            learned = batch["input_ids"][at][batch["completion_mask"][at].bool()]
            read = seen[: len(seen) - len(learned)]
            end = "" if row["prefix"] is not None else "<end_of_turn>"
            turn = (row["prefix"] or "") + row[side] + end
            asked = row["prompt"][0]["content"]
            assert tokenizer.decode(seen) == (
                f"<bos><start_of_turn>user\n{asked}<end_of_turn>\n<start_of_turn>model\n{turn}"
            )
            assert row[side] + end in tokenizer.decode(learned)
            assert tokenizer.decode(read).endswith((row["prefix"] or "model\n")[-4:])
            assert row[side] not in tokenizer.decode(read)


def test_only_rated_pairs_are_left_for_the_soft_loss(start: ModelRef, tmp_path: Path) -> None:
    rows = [
        pair("a", p_chosen=0.75, p_rejected=0.25, source="sppo"),
        pair("b"),
        pair("c", p_chosen=1.0),
    ]
    found = selected(start, rows, Choice(256, rated_only=True), tmp_path)
    reasons = {record: reason for record, reason, _ in found.drops.iter_rows()}
    assert reasons == {"b": "no_win_probability", "c": "no_win_probability"}
    tokens = open_tokens(found.tokens).row(0)
    assert (tokens.p_chosen, tokens.p_rejected) == (0.75, 0.25)
    with pytest.raises(NothingToLearn, match="no_win_probability 1"):
        selected(start, rows[1:2], Choice(256, rated_only=True), tmp_path)
    assert selected(start, rows, Choice(256), tmp_path).tokens.rows == 3
