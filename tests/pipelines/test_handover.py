"""The folder that is handed over, with a card of how its model was really made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kyara_kedro.errors import UserError
from kyara_kedro.params import TrainParams
from kyara_kedro.pipelines.evaluate.handover import export_model
from kyara_kedro.reporting.charts import line_chart
from kyara_kedro.training.embedded import build_embedded_base
from kyara_kedro.training.model_ref import ModelRef
from kyara_kedro.training.options import EmbeddedModelOptions

ROW = {"source": "s", "licence": "CC0-1.0", "language": "zh-Hant-TW", "teacher": "t"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    settings = EmbeddedModelOptions(hidden=16, heads=2, kv_heads=1, intermediate=16, layers=1)
    folder: Path = tmp_path_factory.mktemp("store") / "base"
    return build_embedded_base(["玉山主峰的海拔是3,952公尺。"], settings, folder)


def handed_over(model: ModelRef, store: Path, judged: str = "", **params: Any) -> str:
    flow = {"in": 1, "out": 1, "held_out": 0, "dropped": {}}
    frame = pl.DataFrame([ROW])
    score = {"benchmark": "b", "metric": "score", "model": "dpo", "items": 1, "part": "all"}
    exported, facts = export_model(
        model,
        frame.lazy().with_columns(messages=pl.lit("long"), parents=pl.lit("many")),
        frame,
        frame,
        dict.fromkeys(("sft_base", "sft_refine", "dpo"), flow),
        pl.DataFrame(schema={"stage": str, "step": int, "metric": str, "value": float}),
        line_chart("loss", {"sft_base": [(1, 2.0), (2, 1.0)]}, x_label="step", y_label="loss"),
        pl.DataFrame([score | {"score": 1.0, "low": 0.5, "high": 1.0}]),
        {
            "model": "kyara",
            "fingerprint": judged or model.fingerprint,
            "candidate": 1,
            "verdict": "hold",
            "reasons": [],
        },
        store,
        TrainParams.model_validate(params),
    )
    assert exported == replace(
        model, path=str(store / "export" / model.fingerprint[:16]), stage="pretrained"
    )
    assert facts["stages"]["sft_base"]["sources"] == {"s": 1}
    return Path(exported.path, "README.md").read_text("utf-8")


def test_the_card_tells_of_updates_that_were_trained_instead_of_all_weights(
    model: ModelRef, tmp_path: Path
) -> None:
    plain = handed_over(model, tmp_path)
    assert "peft" not in plain
    assert "| b | score | 1 | 1.00 [0.50, 1.00] |" in plain
    card = handed_over(model, tmp_path, peft={"method": "lora", "r": 64})
    assert "'method': 'lora', 'r': 64" in card


def test_scores_of_another_model_are_not_put_on_the_card(model: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"about the model other.*kedro run --pipeline=evaluate"):
        handed_over(model, tmp_path, judged="other")
