"""Charts as data: one small specification, drawn as an SVG picture or written as Plotly JSON.

Bars, waterfalls, stages and forests lie on their side, because the labels are often Chinese
phrases and the reader often holds a phone. The pictures need no font, script or file beside them,
follow the reader's light or dark setting, and the same figure always gives the same bytes.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape as escape_html
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from kyara_kedro.content import content_id

Kind = Literal["bar", "line", "histogram", "waterfall", "stages", "radar", "scatter", "forest"]
Unit = Literal["number", "percent"]
_Span = tuple[float, float]
_Box = tuple[float, float, float, float]

COLOURS = ("#2b6cb0", "#dd6b20", "#2f855a", "#97388c", "#b7891b", "#5a6b7d")
_DARK = ("#63a4e8", "#f0955a", "#5fbf8d", "#d17fc7", "#e0bd55", "#a3b1c2")
_LOSS, _GAIN = "#c2554d", "#2f855a"
_FONT = (
    "system-ui, -apple-system, 'PingFang TC', 'Noto Sans TC', 'Noto Sans CJK TC', "
    "'Microsoft JhengHei', sans-serif"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML cannot hold, and line ends, which a label cannot show."""

_WIDTH = 520.0
_PAD = 16.0
_STYLE = (
    f".kc{{font-family:{_FONT};font-size:13px}}"
    ".kc-paper{fill:#fff}.kc text{fill:#26323f}.kc .kc-title{font-size:16px;font-weight:600}"
    ".kc .kc-soft{fill:#66727f;font-size:12px}.kc-grid{stroke:#e3e8ee}.kc-axis{stroke:#9aa5b1}"
    ".kc-mark{stroke:#5a6b7d;stroke-width:1.5;stroke-dasharray:3 3}"
    ".kc-whisker{stroke:#26323f;stroke-width:1.5;fill:none}.kc-line{fill:none;stroke-width:2.2}"
    f".kc-loss{{fill:{_LOSS}}}.kc-gain{{fill:{_GAIN}}}"
    + "".join(
        f".kc-f{i}{{fill:{c}}}.kc-l{i}{{stroke:{c}}}.kc-d{i}{{stroke-dasharray:{d}}}"
        for i, (c, d) in enumerate(
            zip(COLOURS, ("none", "7 3", "2 3", "9 3 2 3", "4 4", "1 4"), strict=True)
        )
    )
    + "@media (prefers-color-scheme:dark){.kc-paper{fill:#161b22}.kc text{fill:#e6edf3}"
    ".kc .kc-soft{fill:#9aa7b4}.kc-grid{stroke:#2b333d}.kc-axis{stroke:#55606c}"
    ".kc-mark{stroke:#a3b1c2}.kc-whisker{stroke:#e6edf3}.kc-loss{fill:#e5847c}.kc-gain{fill:#5fbf8d}"
    + "".join(f".kc-f{i}{{fill:{c}}}.kc-l{i}{{stroke:{c}}}" for i, c in enumerate(_DARK))
    + "}"
)


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
        return _svg(self)


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
        "font": {"family": _FONT},
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
        "measure": ["absolute" if total else "relative" for total in _totals(series)],
        "x": list(series.y),
        "y": list(series.x),
        "decreasing": {"marker": {"color": _LOSS}},
        "increasing": {"marker": {"color": _GAIN}},
        "totals": {"marker": {"color": COLOURS[0]}},
    }


def _totals(series: Series) -> list[bool]:
    """Which bars of a waterfall stand on zero: the first and the last."""
    return [i in (0, len(series.y) - 1) for i in range(len(series.y))]


def _svg(figure: Figure) -> str:
    draw = {
        "bar": _bars,
        "line": _lines,
        "histogram": _columns,
        "waterfall": _falls,
        "stages": _stages,
        "radar": _spokes,
        "scatter": _points,
        "forest": _intervals,
    }[figure.kind]
    top = _Sheet(figure)
    body = draw(figure, top)
    key = f"kc-{content_id(figure.kind, figure.title, [s.y for s in figure.series])[:8]}"
    height = _number(math.ceil(top.y + _PAD))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="kc" role="img" aria-labelledby="{key}" '
        f'viewBox="0 0 {_number(_WIDTH)} {height}" width="{_number(_WIDTH)}" height="{height}" '
        f'style="max-width:100%;height:auto">'
        f'<title id="{key}">{_escape(figure.title)}</title><style>{_STYLE}</style>'
        f'<rect class="kc-paper" width="100%" height="100%" rx="8"/>'
        f"{''.join(top.head)}{body}</svg>\n"
    )


class _Sheet:
    """The title and the legend, and how far down the picture reaches (``y``, pixels)."""

    def __init__(self, figure: Figure) -> None:
        self.head: list[str] = []
        self.y = _PAD
        for line in _wrap(figure.title, _WIDTH - 2 * _PAD, 16):
            self.y += 20
            self.head.append(_text(_PAD, self.y - 5, line, "kc-title"))
        self.y += 6
        if len(figure.series) > 1:
            self._legend(figure)

    def _legend(self, figure: Figure) -> None:
        x = _PAD
        for number, series in enumerate(figure.series):
            width = 22 + _text_width(series.name, 13) + 16
            if x > _PAD and x + width > _WIDTH - _PAD:
                x, self.y = _PAD, self.y + 20
            colour = number % len(COLOURS)
            if figure.kind in ("line", "radar"):
                self.head.append(
                    f'<path class="kc-line kc-l{colour} kc-d{colour}" '
                    f'd="M{_number(x)} {_number(self.y + 8)}h18"/>'
                )
            else:
                self.head.append(_rect((x, self.y + 2, 12, 12), f"kc-f{colour}"))
            self.head.append(_text(x + 22, self.y + 12, series.name))
            x += width
        self.y += 26


def _bars(figure: Figure, sheet: _Sheet) -> str:
    categories = [str(x) for x in figure.series[0].x] if figure.series else []
    numbers = [n for s in figure.series for n in (*s.y, *s.low, *s.high) if n is not None]
    ticks = _ticks(min([0.0, *numbers]), max([0.0, *numbers]))
    plot = _Sideways(categories, ticks, figure.unit)
    thick = 20.0 if len(figure.series) == 1 else 14.0
    group = len(figure.series) * (thick + 3) + 11
    start = sheet.y
    rows: list[str] = []
    for i, category in enumerate(categories):
        top = start + i * group + 4
        middle = top + (group - 11) / 2
        rows.append(plot.label(middle, category))
        for number, series in enumerate(figure.series):
            value = series.y[i]
            if value is None:
                continue
            y = top + number * (thick + 3)
            said = _said(value, figure.unit)
            ends = (series.low[i], series.high[i]) if series.low else (None, None)
            hint = f"{category} · {series.name}: {said}"
            rows.append(
                plot.bar((y, y + thick), (min(0.0, value), max(0.0, value)), _fill(number), hint)
            )
            reach = plot.x(max(0.0, value))
            if ends[0] is not None and ends[1] is not None:
                rows.append(_whisker(plot.x(ends[0]), plot.x(ends[1]), y + thick / 2))
                reach = max(reach, plot.x(ends[1]))
            rows.append(_text(reach + 6, y + thick / 2 + 4, said, "kc-soft"))
    sheet.y = start + len(categories) * group
    return plot.axis(start, sheet, figure.x_label) + "".join(rows)


def _falls(figure: Figure, sheet: _Sheet) -> str:
    series = figure.series[0]
    labels = [str(x) for x in series.x]
    plot = _Sideways(labels, _ticks(0.0, max(_filled(series.high))), figure.unit)
    start, thick, step = sheet.y, 20.0, 31.0
    rows: list[str] = []
    bars = zip(labels, _filled(series.y), _filled(series.low), _filled(series.high), strict=True)
    totals = _totals(series)
    for i, (label, change, low, high) in enumerate(bars):
        y = start + i * step + 4
        fill = _fill(0) if totals[i] else ("kc-loss" if change < 0 else "kc-gain")
        said = _said(change, figure.unit)
        if not totals[i]:
            said = f"±{said}" if change == 0 else f"{'+' if change > 0 else ''}{said}"
        rows.append(plot.label(y + thick / 2, label))
        rows.append(plot.bar((y, y + thick), (low, high), fill, f"{label}: {said}"))
        rows.append(_text(plot.x(high) + 6, y + thick / 2 + 4, said, "kc-soft"))
    sheet.y = start + len(labels) * step
    return plot.axis(start, sheet, figure.x_label) + "".join(rows)


def _stages(figure: Figure, sheet: _Sheet) -> str:
    kept, lost = figure.series
    labels = [str(x) for x in kept.x]
    came = [a + b for a, b in zip(_filled(kept.y), _filled(lost.y), strict=True)]
    longest = max((_text_width(_of(n, n), 12) for n in came), default=0.0)
    plot = _Sideways(labels, _ticks(0.0, max([*came, 1.0])), figure.unit, room=longest)
    start, thick, step = sheet.y, 20.0, 31.0
    rows: list[str] = []
    for i, (label, all_, left) in enumerate(zip(labels, came, _filled(kept.y), strict=True)):
        y = start + i * step + 4
        rows.append(plot.label(y + thick / 2, label))
        for number, (series, ends) in enumerate(((kept, (0.0, left)), (lost, (left, all_)))):
            if ends[1] > ends[0]:
                hint = f"{label} · {series.name}: {_said(ends[1] - ends[0], figure.unit)}"
                rows.append(plot.bar((y, y + thick), ends, _fill(number), hint))
        rows.append(_text(plot.x(all_) + 6, y + thick / 2 + 4, _of(left, all_), "kc-soft"))
    sheet.y = start + len(labels) * step
    return plot.axis(start, sheet, figure.x_label) + "".join(rows)


def _of(part: float, whole: float) -> str:
    return f"{_said(part)} / {_said(whole)}"


def _intervals(figure: Figure, sheet: _Sheet) -> str:
    categories = [str(x) for x in figure.series[0].x] if figure.series else []
    numbers = [n for s in figure.series for n in (*s.y, *s.low, *s.high) if n is not None]
    plot = _Sideways(categories, _ticks(min([0.0, *numbers]), max([0.0, *numbers])), figure.unit)
    start, step = sheet.y, 24.0
    rows: list[str] = []
    for i, category in enumerate(categories):
        for number, series in enumerate(figure.series):
            value = series.y[i]
            if value is None:
                continue
            middle = sheet.y + step / 2
            said = f"{'+' if value > 0 else ''}{_said(value, figure.unit)}"
            low, high = (series.low[i], series.high[i]) if series.low else (None, None)
            if low is not None and high is not None:
                rows.append(_whisker(plot.x(low), plot.x(high), middle))
            hint = f"{category} · {series.name}: {said}"
            rows.append(plot.label(middle, category))
            rows.append(_dot((plot.x(value), middle), number, hint))
            reach = plot.x(value if high is None else high)
            rows.append(_text(reach + 8, middle + 4, said, "kc-soft"))
            sheet.y += step
    return plot.axis(start, sheet, figure.x_label) + "".join(rows)


def _spokes(figure: Figure, sheet: _Sheet) -> str:
    names = [str(x) for x in figure.series[0].x] if figure.series else []
    numbers = [y for series in figure.series for y in series.y if y is not None]
    ticks = _ticks(min([0.0, *numbers]), max([0.0, *numbers]))
    across, down, radius = _WIDTH / 2, sheet.y + 168.0, 140.0
    turns = [2 * math.pi * i / len(names) for i in range(len(names))]

    def place(turn: float, reach: float) -> _Span:
        return across + reach * math.sin(turn), down - reach * math.cos(turn)

    def route(points: Iterable[_Span]) -> str:
        return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points) + "Z"

    drawn = [_path("kc-grid", across, down, *place(turn, radius)) for turn in turns]
    for tick in ticks[1:]:
        reach = (tick - ticks[0]) / (ticks[-1] - ticks[0]) * radius
        ring = route(place(turn, reach) for turn in turns)
        drawn.append(f'<path class="kc-grid" fill="none" d="{ring}"/>')
        drawn.append(_text(across + 5, down - reach + 13, _said(tick, figure.unit), "kc-soft"))
    for turn, name in zip(turns, names, strict=True):
        x, y = place(turn, radius + 14)
        aside = math.sin(turn)
        anchor = "middle" if abs(aside) < 0.1 else "start" if aside > 0 else "end"
        room = _WIDTH - 2 * _PAD if anchor == "middle" else min(x, _WIDTH - x) - _PAD
        drawn.append(_text(x, y + 5, _shorten(name, room, 13), anchor=anchor, hint=name))
    for number, series in enumerate(figure.series):
        corners = [
            (place(turn, (y - ticks[0]) / (ticks[-1] - ticks[0]) * radius), f"{name}: {_said(y)}")
            for turn, name, y in zip(turns, names, series.y, strict=True)
            if y is not None
        ]
        colour = number % len(COLOURS)
        if corners:
            shape = route(point for point, _ in corners)
            drawn.append(f'<path class="kc-line kc-l{colour} kc-d{colour}" d="{shape}"/>')
        drawn += [_dot(point, number, f"{series.name} · {hint}") for point, hint in corners]
    sheet.y = down + radius + 28
    return "".join(drawn)


def _points(figure: Figure, sheet: _Sheet) -> str:
    xs = [float(x) for series in figure.series for x in series.x] or [0.0, 1.0]
    ys = [n for s in figure.series for n in (*s.y, *s.low, *s.high) if n is not None] or [0.0, 1.0]
    margin = 0.06 * (max(xs) - min(xs))
    across = (min(xs) - margin, max(xs) + margin)
    plot = _Upright(across, (min(ys), max(ys)), figure, sheet)
    drawn = []
    for number, series in enumerate(figure.series):
        for x, low, high in zip(series.x, series.low, series.high, strict=False):
            if low is not None and high is not None:
                drawn.append(_upright_whisker(plot.x(float(x)), plot.y(low), plot.y(high)))
        for x, y in zip(series.x, _filled(series.y), strict=True):
            hint = f"{series.name}: {_said(float(x))}, {_said(y, figure.unit)}"
            drawn.append(_dot((plot.x(float(x)), plot.y(y)), number, hint))
    return plot.axes() + "".join(drawn)


def _columns(figure: Figure, sheet: _Sheet) -> str:
    edges = [float(x) for x in figure.series[0].x]
    highest = max([1.0, *(n for series in figure.series for n in _filled(series.y))])
    plot = _Upright((edges[0], edges[-1]), (0.0, highest), figure, sheet)
    bars = []
    for number, series in enumerate(figure.series):
        for (a, b), count in zip(pairwise(edges), _filled(series.y), strict=True):
            x, top = plot.x(a) + 0.75, plot.y(count)
            hint = f"{series.name} · {_said(a)}-{_said(b)}: {_said(count)}"
            height = max(plot.y(0.0) - top, 0.0)
            box = (x, top, max(plot.x(b) - x - 0.75, 0.5), height)
            bars.append(_rect(box, _fill(number), hint))
    return plot.axes() + "".join(bars)


def _lines(figure: Figure, sheet: _Sheet) -> str:
    xs = [float(x) for s in figure.series for x in s.x] or [0.0, 1.0]
    ys = [y for s in figure.series for y in s.y if y is not None] or [0.0, 1.0]
    plot = _Upright((min(xs), max(xs)), (min(0.0, *ys), max(ys)), figure, sheet)
    paths = []
    for number, series in enumerate(figure.series):
        points = [
            (plot.x(float(x)), plot.y(y))
            for x, y in zip(series.x, series.y, strict=True)
            if y is not None
        ]
        colour = number % len(COLOURS)
        if len(points) == 1:
            paths.append(_dot(points[0], number, series.name))
        elif points:
            route = "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
            paths.append(
                f'<path class="kc-line kc-l{colour} kc-d{colour}" d="M{route}">'
                f"<title>{_escape(series.name)}</title></path>"
            )
    if figure.mark:
        paths.append(plot.marked(*figure.mark))
    return plot.axes() + "".join(paths)


class _Sideways:
    """A plot with labels on the left and values running to the right."""

    def __init__(
        self, labels: Sequence[str], ticks: list[float], unit: Unit, room: float = 50.0
    ) -> None:
        self.column = min(max([_text_width(text, 13) for text in labels] or [0.0]), 190.0)
        self.left = _PAD + self.column + 10
        self.right = _WIDTH - _PAD - 6 - room
        self.ticks = ticks
        self.unit = unit

    def x(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def label(self, middle: float, text: str) -> str:
        short = _shorten(text, self.column, 13)
        return _text(self.left - 10, middle + 4, short, anchor="end", hint=text)

    def bar(self, rows: _Span, values: _Span, fill: str, hint: str) -> str:
        """A bar over a span of pixels downwards and a span of values to the right."""
        top, bottom = rows
        left, right = map(self.x, values)
        return _rect((left, top, max(right - left, 1.0), bottom - top), fill, hint)

    def axis(self, top: float, sheet: _Sheet, name: str) -> str:
        """The grid from ``top`` down to the sheet's end, which moves below the tick labels."""
        bottom = sheet.y
        every = 1 + len(self.ticks) * 44 // int(self.right - self.left + 44)
        first = self.ticks.index(0.0) % every if 0.0 in self.ticks else 0
        drawn = []
        for tick in self.ticks[first::every]:
            kind = "kc-axis" if tick == 0 else "kc-grid"
            x = self.x(tick)
            drawn.append(_path(kind, x, top, x, bottom))
            said = _said(tick, self.unit)
            drawn.append(_text(x, bottom + 16, said, "kc-soft", anchor="middle"))
        sheet.y = bottom + 20
        if name:
            sheet.y += 18
            middle = (self.left + self.right) / 2
            drawn.append(_text(middle, sheet.y - 2, name, "kc-soft", anchor="middle"))
        return "".join(drawn)


class _Upright:
    """A plot with values running upwards; making it takes its place on the sheet."""

    def __init__(self, across: _Span, up: _Span, figure: Figure, sheet: _Sheet) -> None:
        left, right = across
        self.across = _powers(left, right) if figure.log_x else _ticks(left, right, most=6)
        self.up = _ticks(*up)
        self.span = (left, right) if right > left else (left - 0.5, right + 0.5)
        self.figure = figure
        column = max(_text_width(_said(tick, figure.unit), 12) for tick in self.up)
        self.left, self.right = _PAD + column + 8, _WIDTH - _PAD - 6
        self.label_at = sheet.y + 12
        self.top = sheet.y + (24 if figure.y_label else 6)
        self.bottom = self.top + 220
        sheet.y = self.bottom + 20 + (18 if figure.x_label else 0)

    def x(self, value: float) -> float:
        first, last = self.span
        if self.figure.log_x:
            value, first, last = map(math.log10, (value, first, last))
        return self.left + (value - first) / (last - first) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.up[0], self.up[-1]
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def marked(self, value: float, name: str) -> str:
        """A line upwards at a value, with its name beside its foot."""
        x, room = self.x(value), _text_width(name, 12) + 6
        left = x + 6 + room > self.right
        at, anchor = (x - 6, "end") if left else (x + 6, "start")
        line = _path("kc-mark", x, self.top, x, self.bottom)
        return line + _text(at, self.bottom - 8, name, "kc-soft", anchor=anchor)

    def axes(self) -> str:
        drawn = []
        for tick in self.up:
            y = self.y(tick)
            kind = "kc-axis" if tick == self.up[0] else "kc-grid"
            drawn.append(_path(kind, self.left, y, self.right, y))
            said = _said(tick, self.figure.unit)
            drawn.append(_text(self.left - 8, y + 4, said, "kc-soft", anchor="end"))
        for tick in self.across:
            if self.span[0] <= tick <= self.span[1]:
                said = _said(tick)
                drawn.append(
                    _text(self.x(tick), self.bottom + 16, said, "kc-soft", anchor="middle")
                )
        if self.figure.y_label:
            drawn.append(_text(_PAD, self.label_at, self.figure.y_label, "kc-soft"))
        if self.figure.x_label:
            middle = (self.left + self.right) / 2
            name = self.figure.x_label
            drawn.append(_text(middle, self.bottom + 34, name, "kc-soft", anchor="middle"))
        return "".join(drawn)


def _ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that span [low, high], about ``most`` of them (Heckbert, Graphics Gems, 1990).

    The first is not above ``low`` and the last not below ``high``; there are at least two.
    """
    if high - low < 1e-12 * max(1.0, abs(low), abs(high)):
        high = low + 1.0
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    """The powers of ten in [low, high], with their doubles and quintuples where they are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first < 3 else (1,)
    ticks = (factor * 10.0**power for power in range(first, last + 1) for factor in factors)
    return [tick for tick in ticks if low <= tick <= high]


def _said(value: float, unit: Unit = "number") -> str:
    """A value in few characters: 1,234 or 0.25 or 12.5%."""
    if unit == "percent":
        return f"{round(value * 100, 1):.4g}%"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _filled(values: Sequence[float | None]) -> list[float]:
    return [0.0 if value is None else value for value in values]


def _fill(number: int) -> str:
    return f"kc-f{number % len(COLOURS)}"


def _character_width(character: str) -> float:
    """Width in em; good enough to lay out labels in any sans-serif font."""
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if character in " .,:;'|il()[]!-":
        return 0.35
    return 0.7 if character.isupper() or character in "mw%&@" else 0.6


def _text_width(text: str, size: float) -> float:
    return size * sum(map(_character_width, text))


def _shorten(text: str, width: float, size: float) -> str:
    if _text_width(text, size) <= width + 0.01:
        return text
    while text and _text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _wrap(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines, after a space where there is one and anywhere in Chinese."""
    lines, line = [], ""
    for character in text:
        if _text_width(line + character, size) > width:
            head, space, tail = line.rpartition(" ")
            wide = unicodedata.east_asian_width(line[-1]) in "WF"
            lines.append(head if space and not wide else line)
            line = tail if space and not wide else ""
        line += character
    return [*lines, line]


def _text(
    x: float, y: float, text: str, kind: str = "", *, anchor: str = "start", hint: str = ""
) -> str:
    attributes = f' class="{kind}"' if kind else ""
    if anchor != "start":
        attributes += f' text-anchor="{anchor}"'
    title = f"<title>{_escape(hint)}</title>" if hint and hint != text else ""
    return f'<text x="{_number(x)}" y="{_number(y)}"{attributes}>{title}{_escape(text)}</text>'


def _rect(box: _Box, kind: str, hint: str = "") -> str:
    x, y, width, height = box
    place = f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"'
    if not hint:
        return f'<rect {place} rx="2" class="{kind}"/>'
    return f'<rect {place} rx="2" class="{kind}"><title>{_escape(hint)}</title></rect>'


def _path(kind: str, x: float, y: float, to_x: float, to_y: float) -> str:
    route = f"M{_number(x)} {_number(y)}L{_number(to_x)} {_number(to_y)}"
    return f'<path class="{kind}" d="{route}"/>'


def _whisker(low: float, high: float, y: float) -> str:
    ends = "".join(f"M{_number(x)} {_number(y - 4)}v8" for x in (low, high))
    return f'<path class="kc-whisker" d="M{_number(low)} {_number(y)}H{_number(high)}{ends}"/>'


def _upright_whisker(x: float, low: float, high: float) -> str:
    ends = "".join(f"M{_number(x - 4)} {_number(y)}h8" for y in (low, high))
    return f'<path class="kc-whisker" d="M{_number(x)} {_number(low)}V{_number(high)}{ends}"/>'


def _dot(at: _Span, number: int, hint: str) -> str:
    x, y = map(_number, at)
    return (
        f'<circle class="{_fill(number)}" cx="{x}" cy="{y}" r="4">'
        f"<title>{_escape(hint)}</title></circle>"
    )


def _escape(text: str) -> str:
    """Text as it may stand in an SVG, as content or in an attribute."""
    return escape_html(_CONTROL.sub(" ", text))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
