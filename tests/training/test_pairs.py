"""Which preference pairs the third stage learns from."""

from typing import Any

import polars as pl
import pytest

from kyara_kedro.records import PREFERENCE
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import EmbeddedModelOptions
from kyara_kedro.training.rows import select_pairs


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
        "parents": ["x"],
        "licence": "CC0-1.0",
        **changes,
    }


def test_pairs_are_chosen_by_source_form_and_length(start: ModelRef) -> None:
    table: pl.DataFrame = PREFERENCE.frame(
        [
            pair("d"),
            pair("a", kind="continuation", prefix="步驟一\n"),
            pair("b", source="h4"),
            pair("c", chosen="長" * 400),
            pair("e", rejected="<end_of_turn>"),
        ]
    )
    chosen = select_pairs(table, start, 128, ("self_play",))
    assert chosen.rows["id"].to_list() == ["a", "d"]
    assert {record: reason for record, reason, _ in chosen.drops} == {
        "b": "source_not_in_mix",
        "c": "over_max_length",
        "e": "control_token",
    }
    assert select_pairs(table, start, 10_000).rows["id"].to_list() == ["a", "b", "c", "d"]
