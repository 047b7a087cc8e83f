"""A figure of ``charts`` drawn as one self-contained SVG element."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape as escape_html
from itertools import pairwise
from typing import TYPE_CHECKING

from kyara_kedro.content import content_id

if TYPE_CHECKING:
    from kyara_kedro.reporting.charts import Figure, Series, Unit

_Span = tuple[float, float]
_Box = tuple[float, float, float, float]

COLOURS = ("#2b6cb0", "#dd6b20", "#2f855a", "#97388c", "#b7891b", "#5a6b7d")
_DARK = ("#63a4e8", "#f0955a", "#5fbf8d", "#d17fc7", "#e0bd55", "#a3b1c2")
LOSS, GAIN = "#c2554d", "#2f855a"
FONT = (
    "system-ui, -apple-system, 'PingFang TC', 'Noto Sans TC', 'Noto Sans CJK TC', "
    "'Microsoft JhengHei', sans-serif"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML cannot hold, and line ends, which a label cannot show."""

_WIDTH = 520.0
_PAD = 16.0
_STYLE = (
    f".kc{{font-family:{FONT};font-size:13px}}"
    ".kc-paper{fill:#fff}.kc text{fill:#26323f}.kc .kc-title{font-size:16px;font-weight:600}"
    ".kc .kc-soft{fill:#66727f;font-size:12px}.kc-grid{stroke:#e3e8ee}.kc-axis{stroke:#9aa5b1}"
    ".kc-mark{stroke:#5a6b7d;stroke-width:1.5;stroke-dasharray:3 3}"
    ".kc-whisker{stroke:#26323f;stroke-width:1.5;fill:none}.kc-line{fill:none;stroke-width:2.2}"
    f".kc-loss{{fill:{LOSS}}}.kc-gain{{fill:{GAIN}}}"
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


def svg(figure: Figure) -> str:
    """Draw a figure; ``role="img"`` with a title. The same figure gives the same bytes."""
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
            name = f"{number + 1} {series.name}" if _numbered(figure) else series.name
            width = 22 + _text_width(name, 13) + 16
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
            self.head.append(_text(x + 22, self.y + 12, name))
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
    standing = totals(series)
    for i, (label, change, low, high) in enumerate(bars):
        y = start + i * step + 4
        fill = _fill(0) if standing[i] else ("kc-loss" if change < 0 else "kc-gain")
        said = _said(change, figure.unit)
        if not standing[i]:
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
            at = plot.x(float(x)), plot.y(y)
            drawn.append(_dot(at, number, hint))
            if _numbered(figure):
                drawn.append(_text(at[0] + 6, at[1] - 4, str(number + 1), "kc-soft"))
    return plot.axes() + "".join(drawn)


def _numbered(figure: Figure) -> bool:
    """Whether points bear the numbers of their series, for there are more than colours."""
    return figure.kind == "scatter" and len(figure.series) > len(COLOURS)


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


def totals(series: Series) -> list[bool]:
    """Which bars of a waterfall stand on zero: the first and the last."""
    return [i in (0, len(series.y) - 1) for i in range(len(series.y))]
