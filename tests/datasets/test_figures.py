"""A figure comes back as it was, whatever its kind."""

import json
from pathlib import Path

import pytest

from kyara_kedro.datasets import FigureDataset
from kyara_kedro.reporting.charts import Figure, bar_chart, histograms, line_chart, stage_chart

FIGURES = (
    bar_chart("分數", ["甲"], {"a": [0.5], "b": [None]}, {"a": [(0.4, 0.6)]}, unit="percent"),
    line_chart("損失", {"sft": [(1, 3.0)]}, mark=(1.0, "這裡")),
    histograms("品質", {"全部": [0.1, 0.9], "入選": [0.9]}, span=(0, 1)),
    stage_chart("流程", [("匯入", 3, 2)], kept="留下", lost="捨去"),
)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.kind)
def test_a_figure_comes_back_and_is_drawn_beside_it(tmp_path: Path, figure: Figure) -> None:
    dataset = FigureDataset(filepath=str(tmp_path / "figure.json"))
    dataset.save(figure)
    assert dataset.load() == figure
    assert (tmp_path / "figure.svg").read_text(encoding="utf-8") == figure.svg()
    shown = dict(dataset.preview())
    assert shown["data"] == json.loads(json.dumps(figure.plotly()))["data"]
