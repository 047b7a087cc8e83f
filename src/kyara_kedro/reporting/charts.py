"""Charts as data: one small specification, drawn as an SVG picture or written as Plotly JSON.

Bars, waterfalls, stages and forests lie on their side, because the labels are often Chinese
phrases and the reader often holds a phone. The pictures need no font, script or file beside them,
follow the reader's light or dark setting, and the same figure always gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from kyara_kedro.reporting.drawing import COLOURS, FONT, GAIN, LOSS, svg, totals

Kind = Literal["bar", "line", "histogram", "waterfall", "stages", "radar", "scatter", "forest"]
Unit = Literal["number", "percent"]


@dataclass(frozen=True)
class Series:
    """One set of values of a figure.

    Attributes:
        name: What the legend calls it.
        x: Categories, positions, or for a histogram the bins' edges (one more than ``y``).
        y: Values; None where there is none.
        low: Lower ends of the confidence intervals, or of a waterfall's floating bars.
        high: Upper ends, likewise.
    """

    name: str
    x: tuple[str | float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(ends) for ends in (self.low, self.high) if ends}
        if len(self.x) - len(self.y) not in (0, 1) or lengths - {len(self.y)}:
            raise ValueError(
                f"series {self.name!r}: {len(self.x)} positions, {len(self.y)} values, "
                f"{len(self.low)} and {len(self.high)} interval ends do not fit together"
            )


@dataclass(frozen=True)
class Figure:
    """A chart, independent of how it is drawn.

    Attributes:
        kind: ``bar`` (grouped, on its side), ``line``, ``histogram`` (its series over one
            another), ``waterfall``, ``stages`` (bars of what was kept and lost, end to end),
            ``radar`` (a polygon a series, over spokes), ``scatter``, or ``forest`` (points with
            intervals beside a line at 0, on their side).
        title: What the chart shows; also its accessible name.
        series: The values; a waterfall has exactly one, those of a histogram have the same bins.
        x_label: Name of the value axis of bars and forests, of the horizontal axis otherwise.
        y_label: Name of the other axis.
        unit: How values are written; ``percent`` takes fractions of 1.
        mark: A position on the horizontal axis of lines that deserves attention, and its name.
        log_x: Whether the horizontal axis of lines, all positive, grows by factors.
    """

    kind: Kind
    title: str
    series: tuple[Series, ...]
    x_label: str = ""
    y_label: str = ""
    unit: Unit = "number"
    mark: tuple[float, str] | None = None
    log_x: bool = False

    def plotly(self) -> dict[str, Any]:
        """The figure as a Plotly JSON document, ``{"data": [...], "layout": {...}}``."""
        return _plotly(self)

    def svg(self) -> str:
        """The figure as one self-contained SVG element, ``role="img"`` with a title."""
        return svg(self)

    def _repr_svg_(self) -> str:
        """How a notebook shows it."""
        return svg(self)


def bar_chart(
    title: str,
    categories: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    intervals: Mapping[str, Sequence[tuple[float, float] | None]] | None = None,
    *,
    x_label: str = "",
    unit: Unit = "number",
) -> Figure:
    """Grouped bars, one group a category and one bar a series.

    Args:
        title: Title of the figure.
        categories: Names of the groups, from top to bottom.
        values: Series name to one value a category.
        intervals: Series name to one (low, high) a category; any series may be left out.
        x_label: Name of the value axis.
        unit: How values are written.
    """
    return Figure("bar", title, _series(categories, values, intervals), x_label=x_label, unit=unit)


def forest(
    title: str,
    categories: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    intervals: Mapping[str, Sequence[tuple[float, float] | None]],
    *,
    x_label: str = "",
    unit: Unit = "number",
) -> Figure:
    """Differences with their intervals, one line each, against a line where there is none.

    Args:
        title: Title of the figure.
        categories: What is compared, from top to bottom.
        values: Series name to one difference a category; None leaves no line.
        intervals: Series name to one (low, high) a category.
        x_label: Name of the value axis.
        unit: How values are written.
    """
    series = _series(categories, values, intervals)
    return Figure("forest", title, series, x_label=x_label, unit=unit)


def radar(
    title: str,
    spokes: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    *,
    unit: Unit = "number",
) -> Figure:
    """A polygon a series over spokes that begin at 0 in the middle.

    Args:
        title: Title of the figure.
        spokes: Names of the spokes, from the top on to the right.
        values: Series name to one value a spoke; a polygon passes over a spoke without one.
        unit: How values are written.

    Raises:
        ValueError: there are fewer than three spokes.
    """
    if len(spokes) < 3:
        raise ValueError(f"radar {title!r}: it needs at least three spokes")
    return Figure("radar", title, _series(spokes, values, None), unit=unit)


def scatter(
    title: str,
    points: Mapping[str, Sequence[tuple[float, float]]],
    intervals: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    *,
    x_label: str = "",
    y_label: str = "",
    unit: Unit = "number",
) -> Figure:
    """Points at (x, y), a colour a series.

    Args:
        title: Title of the figure.
        points: Series name to its points.
        intervals: Series name to the (low, high) of each point's y; any series may be left out.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
        unit: How the values upwards are written.
    """
    series = []
    for name, some in points.items():
        ends = (intervals or {}).get(name, ())
        series.append(
            Series(
                name,
                tuple(x for x, _ in some),
                tuple(y for _, y in some),
                tuple(low for low, _ in ends),
                tuple(high for _, high in ends),
            )
        )
    return Figure("scatter", title, tuple(series), x_label, y_label, unit)


def _series(
    categories: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    intervals: Mapping[str, Sequence[tuple[float, float] | None]] | None,
) -> tuple[Series, ...]:
    series = []
    for name, heights in values.items():
        ends = (intervals or {}).get(name)
        series.append(
            Series(
                name,
                tuple(categories),
                tuple(heights),
                tuple(end[0] if end else None for end in ends) if ends else (),
                tuple(end[1] if end else None for end in ends) if ends else (),
            )
        )
    return tuple(series)


def line_chart(
    title: str,
    lines: Mapping[str, Iterable[tuple[float, float]]],
    *,
    x_label: str = "",
    y_label: str = "",
    unit: Unit = "number",
    mark: tuple[float, str] | None = None,
    log_x: bool = False,
) -> Figure:
    """Lines through (x, y) points in the order of x; points that are not finite are left out."""
    series = []
    for name, points in lines.items():
        ordered = sorted(point for point in points if all(map(math.isfinite, point)))
        series.append(Series(name, tuple(x for x, _ in ordered), tuple(y for _, y in ordered)))
    return Figure("line", title, tuple(series), x_label, y_label, unit, mark, log_x)


def histogram(
    title: str,
    values: Sequence[float],
    *,
    bins: int = 20,
    span: tuple[float, float] | None = None,
    x_label: str = "",
    y_label: str = "",
) -> Figure:
    """Counts of values in bins of equal width; see :func:`histograms`."""
    return histograms(
        title, {title: values}, bins=bins, span=span, x_label=x_label, y_label=y_label
    )


def histograms(
    title: str,
    values: Mapping[str, Sequence[float]],
    *,
    bins: int = 20,
    span: tuple[float, float] | None = None,
    x_label: str = "",
    y_label: str = "",
) -> Figure:
    """Counts of several sets of values in the same bins, later sets drawn over earlier ones.

    Args:
        title: Title of the figure.
        values: Series name to its values; those outside ``span`` are not counted.
        bins: Number of bins.
        span: First and last edge; without it, the range of all values.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
    """
    arrays = {name: np.asarray(some, dtype=np.float64) for name, some in values.items()}
    edges = np.histogram_bin_edges(np.concatenate([[], *arrays.values()]), bins, span)
    series = [
        Series(name, tuple(edges.tolist()), tuple(map(float, np.histogram(some, edges)[0])))
        for name, some in arrays.items()
    ]
    return Figure("histogram", title, tuple(series), x_label, y_label)


def waterfall(
    title: str,
    steps: Sequence[tuple[str, float, float]],
    *,
    start: str,
    end: str,
    added: str,
    x_label: str = "",
) -> Figure:
    """What each step of a process takes away, from what came in to what is left.

    Args:
        title: Title of the figure.
        steps: (label, in, out) of each step in order. Where more comes into a step than left the
            one before it, the surplus gets a bar of its own.
        start: Label of the first bar.
        end: Label of the last bar.
        added: Label of a surplus; ``{}`` in it becomes the step's label.
        x_label: Name of the value axis.

    Raises:
        ValueError: there is no step.
    """
    if not steps:
        raise ValueError(f"waterfall {title!r}: it needs at least one step")
    level = float(steps[0][1])
    bars: list[tuple[str, float, float]] = [(start, 0.0, level)]
    for label, came, left in steps:
        if came != level:
            bars.append((added.format(label), level, float(came)))
        bars.append((label, float(came), float(left)))
        level = float(left)
    bars.append((end, 0.0, level))
    series = Series(
        title,
        tuple(label for label, _, _ in bars),
        tuple(after - before for _, before, after in bars),
        tuple(min(before, after) for _, before, after in bars),
        tuple(max(before, after) for _, before, after in bars),
    )
    return Figure("waterfall", title, (series,), x_label=x_label)


def stage_chart(
    title: str,
    stages: Sequence[tuple[str, float, float]],
    *,
    kept: str,
    lost: str,
    x_label: str = "",
) -> Figure:
    """What each stage of a process keeps of what comes into it, in units of its own.

    Args:
        title: Title of the figure.
        stages: (label, in, out) of each stage in order.
        kept: Name of what goes on.
        lost: Name of what does not.
        x_label: Name of the value axis.
    """
    labels = tuple(label for label, _, _ in stages)
    left = Series(kept, labels, tuple(out for _, _, out in stages))
    gone = Series(lost, labels, tuple(came - out for _, came, out in stages))
    return Figure("stages", title, (left, gone), x_label=x_label)


_BAR_MODES = {"bar": "group", "stages": "stack", "histogram": "overlay"}


def _plotly(figure: Figure) -> dict[str, Any]:
    traces = {
        "bar": _plotly_bar,
        "line": _plotly_line,
        "histogram": _plotly_histogram,
        "waterfall": _plotly_waterfall,
        "stages": _plotly_bar,
        "radar": _plotly_radar,
        "scatter": _plotly_scatter,
        "forest": _plotly_forest,
    }
    sideways = figure.kind in ("bar", "waterfall", "stages", "forest")
    values = "xaxis" if sideways else "yaxis"
    layout: dict[str, Any] = {
        "title": {"text": figure.title},
        "font": {"family": FONT},
        "colorway": list(COLOURS),
        "margin": {"l": 64, "r": 24, "t": 64, "b": 56},
        "xaxis": {"title": {"text": figure.x_label}, "automargin": True},
        "yaxis": {"title": {"text": figure.y_label}, "automargin": True},
        "showlegend": len(figure.series) > 1,
        "legend": {"orientation": "h"},
    }
    if sideways:
        layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    if figure.kind in _BAR_MODES:
        layout["barmode"] = _BAR_MODES[figure.kind]
    if figure.kind == "histogram":
        layout["bargap"] = 0.05
    if figure.kind == "radar":
        layout["polar"] = {
            "radialaxis": {"rangemode": "tozero"},
            "angularaxis": {"rotation": 90, "direction": "clockwise"},
        }
    if figure.unit == "percent":
        layout[values]["tickformat"] = ".0%"
    if figure.log_x:
        layout["xaxis"]["type"] = "log"
    data = [traces[figure.kind](series) for series in figure.series]
    if figure.mark:
        data.append(_plotly_mark(figure))
    return {"data": data, "layout": layout}


def _plotly_bar(series: Series) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "name": series.name,
        "x": list(series.y),
        "y": list(series.x),
    }
    if series.low:
        trace["error_x"] = _plotly_errors(series)
    return trace


def _plotly_errors(series: Series) -> dict[str, Any]:
    ends = list(zip(series.y, series.low, series.high, strict=True))
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if y is None or h is None else h - y for y, _, h in ends],
        "arrayminus": [0 if y is None or w is None else y - w for y, w, _ in ends],
    }


def _plotly_forest(series: Series) -> dict[str, Any]:
    return _plotly_bar(series) | {"type": "scatter", "mode": "markers"}


def _plotly_scatter(series: Series) -> dict[str, Any]:
    trace = _plotly_line(series) | {"mode": "markers"}
    return trace | ({"error_y": _plotly_errors(series)} if series.low else {})


def _plotly_radar(series: Series) -> dict[str, Any]:
    return {
        "type": "scatterpolar",
        "name": series.name,
        "r": [*series.y, *series.y[:1]],
        "theta": [*series.x, *series.x[:1]],
    }


def _plotly_line(series: Series) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": series.name,
        "x": list(series.x),
        "y": list(series.y),
    }


def _plotly_mark(figure: Figure) -> dict[str, Any]:
    at, name = figure.mark or (0.0, "")
    highest = max([y for series in figure.series for y in series.y if y is not None] or [1.0])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [at, at],
        "y": [0, highest],
        "line": {"dash": "dot", "color": COLOURS[-1]},
    }


def _plotly_histogram(series: Series) -> dict[str, Any]:
    edges = [float(edge) for edge in series.x]
    return {
        "type": "bar",
        "name": series.name,
        "x": [(a + b) / 2 for a, b in pairwise(edges)],
        "width": [b - a for a, b in pairwise(edges)],
        "y": list(series.y),
    }


def _plotly_waterfall(series: Series) -> dict[str, Any]:
    return {
        "type": "waterfall",
        "orientation": "h",
        "name": series.name,
        "measure": ["absolute" if total else "relative" for total in totals(series)],
        "x": list(series.y),
        "y": list(series.x),
        "decreasing": {"marker": {"color": LOSS}},
        "increasing": {"marker": {"color": GAIN}},
        "totals": {"marker": {"color": COLOURS[0]}},
    }
