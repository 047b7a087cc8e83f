import json
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyara_kedro.reporting.charts import (
    Figure,
    Series,
    bar_chart,
    forest,
    histogram,
    histograms,
    line_chart,
    radar,
    scatter,
    stage_chart,
    waterfall,
)
from kyara_kedro.reporting.drawing import _ticks

STAGES = [("匯入", 100, 90), ("合成", 120, 120), ("挑選", 12000, 30)]
SVG = "{http://www.w3.org/2000/svg}"
STEPS = [("匯入", 100, 90), ("合成", 120, 120), ("挑選", 120, 30)]
FIGURES = {
    "bar": bar_chart(
        "分數 <Scores> & more",
        ["基礎", "精修"],
        {"a": [0.25, 0.5], "b": [0.1, None]},
        {"a": [(0.2, 0.3), (0.4, 0.6)]},
        unit="percent",
    ),
    "line": line_chart("損失", {"sft": [(2, 1.0), (1, 3.0)], "dpo": [(1, 0.5)]}, x_label="步"),
    "histogram": histograms(
        "品質", {"全部": [0.1, 0.2, 0.2, 0.9], "入選": [0.9]}, bins=4, span=(0, 1)
    ),
    "stages": stage_chart("流程", STAGES, kept="留下", lost="捨去"),
    "radar": radar("類別", ["邏輯", "數學", "寫作"], {"甲": [6, 5, 8], "乙 <b>": [4, None, 7]}),
    "scatter": scatter(
        "勝率與長度",
        {"甲": [(900, 0.4)], "乙": [(1200, 0.55), (700, 0.2)]},
        {"甲": [(0.35, 0.45)]},
        x_label="字元",
        y_label="勝率",
        unit="percent",
    ),
    "forest": forest(
        "差距 & more",
        ["數學", "寫作"],
        {"未定": [0.1, None], "較差": [None, -0.4]},
        {"未定": [(-0.1, 0.3), None], "較差": [None, (-0.6, -0.2)]},
        x_label="分",
    ),
    "waterfall": waterfall("流程", STEPS, start="讀入", end="入選", added="加入 {}"),
}


def _parse(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314 - our own


def _texts(figure: Figure) -> list[str]:
    return [element.text or "" for element in _parse(figure.svg()).iter(f"{SVG}text")]


def _rects(figure: Figure, css: str) -> list[ET.Element]:
    rects = _parse(figure.svg()).iter(f"{SVG}rect")
    return [rect for rect in rects if rect.get("class") == css]


@pytest.mark.parametrize("kind", FIGURES)
def test_pictures_are_accessible_self_contained_and_repeatable(kind: str) -> None:
    figure = FIGURES[kind]
    picture = figure.svg()
    root = _parse(picture)
    title = root.find(f"{SVG}title")
    assert title is not None and title.text == figure.title
    assert root.get("role") == "img" and root.get("aria-labelledby") == title.get("id")
    assert "href" not in picture and "url(" not in picture and "<script" not in picture
    assert picture == figure.svg()


def test_a_mark_and_an_axis_that_grows_by_factors() -> None:
    points = [(1.0, 0.1), (10.0, 0.2), (1000.0, 1.0)]
    figure = line_chart("涵蓋", {"a": points}, mark=(1000.0, "入選"), log_x=True, unit="percent")
    texts = _texts(figure)
    assert {"1", "10", "100", "1,000", "入選"} <= set(texts)
    places = [
        float(element.get("x", "0"))
        for element in _parse(figure.svg()).iter(f"{SVG}text")
        if element.text in ("1", "10", "100", "1,000")
    ]
    steps = [b - a for a, b in pairwise(places)]
    assert max(steps) - min(steps) < 0.5
    document = figure.plotly()
    assert document["layout"]["xaxis"]["type"] == "log"
    assert document["data"][-1]["x"] == [1000.0, 1000.0]
    few = line_chart("涵蓋", {"a": [(1.0, 0.1), (60.0, 0.2)]}, log_x=True)
    assert {"1", "2", "5", "10", "20", "50"} <= set(_texts(few))


@pytest.mark.parametrize("kind", FIGURES)
def test_everything_drawn_lies_within_the_picture(kind: str) -> None:
    root = _parse(FIGURES[kind].svg())
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    for rect in root.iter(f"{SVG}rect"):
        if rect.get("x"):
            x, y, w, h = (float(rect.get(name) or 0) for name in ("x", "y", "width", "height"))
            assert min(x, y, h) >= 0 < w and x + w <= width and y + h <= height


@pytest.mark.parametrize("kind", FIGURES)
def test_plotly_accepts_its_documents(kind: str) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    document = json.loads(json.dumps(FIGURES[kind].plotly()))
    assert set(document) == {"data", "layout"}
    figure = go.Figure(document)
    assert figure.layout.title.text == FIGURES[kind].title


def test_bars_are_as_long_as_their_values() -> None:
    figure = bar_chart("長", ["甲", "乙"], {"n": [100, 25]})
    long, short = (float(rect.get("width") or 0) for rect in _rects(figure, "kc-f0"))
    assert long == pytest.approx(4 * short, abs=0.5)
    assert {"甲", "乙", "100", "25"} <= set(_texts(figure))


def test_missing_values_have_no_bar_and_intervals_have_whiskers() -> None:
    figure = FIGURES["bar"]
    assert len(_rects(figure, "kc-f0")) == 3 and len(_rects(figure, "kc-f1")) == 2
    whiskers = [p for p in _parse(figure.svg()).iter() if p.get("class") == "kc-whisker"]
    assert len(whiskers) == 2
    (error,) = [t["error_x"] for t in figure.plotly()["data"] if "error_x" in t]
    assert error["array"] == pytest.approx([0.05, 0.1])
    assert error["arrayminus"] == pytest.approx([0.05, 0.1])


def _dots(figure: Figure, css: str) -> list[tuple[float, float]]:
    circles = _parse(figure.svg()).iter(f"{SVG}circle")
    return [
        (float(circle.get("cx") or 0), float(circle.get("cy") or 0))
        for circle in circles
        if circle.get("class") == css
    ]


def test_a_radar_goes_round_from_the_top_and_passes_over_a_spoke_without_a_value() -> None:
    figure = FIGURES["radar"]
    (top, right, left), other = _dots(figure, "kc-f0"), _dots(figure, "kc-f1")
    assert top[0] < right[0] and left[0] < top[0]
    assert top[1] < min(left[1], right[1])
    assert len(other) == 2
    first, second = figure.plotly()["data"]
    assert (first["r"], first["theta"][-1]) == ([6, 5, 8, 6], "邏輯")
    assert second["r"] == [4, None, 7, 4]
    with pytest.raises(ValueError, match="at least three spokes"):
        radar("空", ["一", "二"], {})


def test_scattered_points_lie_where_their_values_are_and_have_intervals() -> None:
    figure = FIGURES["scatter"]
    ((x, y),), ((far, high), (near, low)) = _dots(figure, "kc-f0"), _dots(figure, "kc-f1")
    assert near < x < far and high < y < low
    whiskers = [p for p in _parse(figure.svg()).iter() if p.get("class") == "kc-whisker"]
    assert len(whiskers) == 1
    first, second = figure.plotly()["data"]
    assert first["error_y"]["array"] == pytest.approx([0.05]) and "error_y" not in second
    assert (second["mode"], second["x"]) == ("markers", [1200, 700])
    assert "1" not in _texts(figure)
    many = scatter("多", {f"m{i}": [(i, i)] for i in range(9)})
    assert {"9 m8", "9"} <= set(_texts(many))
    assert scatter("空", {}).svg()


def test_a_forest_has_a_line_a_difference_with_its_sign() -> None:
    figure = FIGURES["forest"]
    ((right, upper),), ((left, lower),) = _dots(figure, "kc-f0"), _dots(figure, "kc-f1")
    assert left < right and upper < lower
    assert {"+0.1", "-0.4"} <= set(_texts(figure))
    document = figure.plotly()
    assert document["data"][0]["error_x"]["array"] == pytest.approx([0.2, 0])
    assert document["layout"]["yaxis"]["autorange"] == "reversed"
    wide = forest("寬", ["很長的名字" * 4], {"d": [9.0]}, {"d": [(-9.0, 50.0)]})
    axes = [p for p in _parse(wide.svg()).iter() if p.get("class") == "kc-axis"]
    assert len(axes) == 1 and "0" in _texts(wide)
    assert forest("空", [], {}, {}).svg()


def test_negative_bars_start_at_zero() -> None:
    figure = bar_chart("差", ["甲", "乙"], {"d": [-0.5, 0.5]})
    left, right = _rects(figure, "kc-f0")
    end = float(left.get("x") or 0) + float(left.get("width") or 0)
    assert end == pytest.approx(float(right.get("x") or 0), abs=0.2)


def test_lines_run_in_the_order_of_x_and_skip_what_is_not_finite() -> None:
    figure = line_chart("損失", {"sft": [(3, 1.0), (1, 3.0), (2, float("nan")), (4, float("inf"))]})
    assert figure.series[0].x == (1, 3) and figure.series[0].y == (3.0, 1.0)
    assert "nan" not in figure.svg()


def test_histograms_count_within_the_span_in_the_same_bins() -> None:
    every, chosen = FIGURES["histogram"].series
    assert every.y == (3.0, 0.0, 0.0, 1.0)
    assert chosen.y == (0.0, 0.0, 0.0, 1.0)
    assert every.x == chosen.x == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert histogram("空", [], span=(0, 1)).svg()


def test_stages_show_what_they_kept_of_what_came() -> None:
    kept, lost = FIGURES["stages"].series
    assert (kept.y, lost.y) == ((90, 120, 30), (10, 0, 11970))
    assert {"90 / 100", "120 / 120", "30 / 12,000", "留下", "捨去"} <= set(
        _texts(FIGURES["stages"])
    )
    assert FIGURES["stages"].plotly()["layout"]["barmode"] == "stack"
    assert stage_chart("無", [], kept="", lost="").svg()


def test_waterfall_falls_rises_and_ends_where_the_last_step_does() -> None:
    (series,) = FIGURES["waterfall"].series
    assert series.x == ("讀入", "匯入", "加入 合成", "合成", "挑選", "入選")
    assert series.y == (100, -10, 30, 0, -90, 30)
    texts = _texts(FIGURES["waterfall"])
    assert {"100", "-10", "+30", "±0", "-90"} <= set(texts)
    (trace,) = FIGURES["waterfall"].plotly()["data"]
    assert trace["measure"] == ["absolute", *["relative"] * 4, "absolute"]


def test_a_waterfall_needs_a_step() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        waterfall("無", [], start="", end="", added="")


def test_long_labels_are_shortened_and_kept_as_hints() -> None:
    name = "很長的名字" * 10
    picture = bar_chart("長", [name], {"n": [1]}).svg()
    assert "…</text>" in picture and f"<title>{name}</title>" in picture


def test_values_and_positions_must_fit_together() -> None:
    with pytest.raises(ValueError, match="'s': 2 positions, 0 values"):
        Series("s", ("a", "b"), ())


@settings(max_examples=40)
@given(st.text(max_size=60), st.lists(st.text(max_size=40), max_size=4), st.floats(-1e6, 1e6))
def test_any_label_and_value_gives_well_formed_xml(
    title: str, labels: list[str], value: float
) -> None:
    values = {title: [value] * len(labels), "b": [0.0] * len(labels)}
    spokes = [*labels, "x", "y", "z"]
    for figure in (
        bar_chart(title, labels, values),
        forest(title, labels, values, {title: [(value, value)] * len(labels)}, x_label=title),
        radar(title, spokes, {title: [value] * len(spokes)}),
        scatter(title, {label: [(value, value)] for label in labels}, x_label=title),
    ):
        _parse(figure.svg())
        json.dumps(figure.plotly(), allow_nan=False)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_span_the_values(low: float, width: float) -> None:
    ticks = _ticks(low, low + width)
    slack = 1e-6 * max(abs(low), width, 1)
    assert 2 <= len(ticks) <= 9
    assert ticks[0] <= low + slack and ticks[-1] >= low + width - slack
