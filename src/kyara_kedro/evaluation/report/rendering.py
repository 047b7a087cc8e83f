"""A report as a web page, as Markdown and as JSON.

Everything that a model wrote is text to the page, never markup: the template escapes all values,
and a content security policy forbids scripts and anything from elsewhere. In Markdown it stands in
code fences that it cannot close.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from kyara_kedro.evaluation.metrics import Scale, shown
from kyara_kedro.evaluation.report.content import CHAPTERS, OUTCOMES, Report
from kyara_kedro.reporting import cards, pages
from kyara_kedro.reporting.charts import Figure

VERDICTS = {
    "promote": ("證據足以升為冠軍", "Promote: the evidence suffices"),
    "hold": ("不升為冠軍", "Hold: it does not become the champion"),
    "inconclusive": ("證據不足，無法判定", "Inconclusive: the evidence does not suffice"),
}
_HERE = Path(__file__).parent
_LONGEST_TEXT = 600
_FEW_PARTS = 16
"""Lines up to which a breakdown is shown unfolded."""


def evaluation_report(report: Report) -> str:
    """Write the report as an HTML document without any reference to another file."""
    templates = pages.environment(_HERE)
    templates.filters |= {"drawn": _drawn}
    return _rendered(templates, "report.html.jinja", report)


def evaluation_markdown(report: Report) -> str:
    """Write the report as Markdown; its charts are the tables that they are drawn from."""
    templates = cards.environment(_HERE)
    templates.filters |= {"fenced": _fenced}
    return _rendered(templates, "report.md.jinja", report)


def evaluation_summary(report: Report) -> dict[str, Any]:
    """The report as JSON can hold it: charts are Plotly documents, shares lie in 0 to 1."""
    summary: dict[str, Any] = _plain(report)
    return summary


def _rendered(templates: Environment, name: str, report: Report) -> str:
    templates.filters |= {
        "figure": shown,
        "interval": _interval,
        "difference": _difference,
        "mark": _mark,
        "place": _place,
        "text": _text,
        "told": _told,
    }
    return templates.get_template(name).render(
        r=report, chapter_names=CHAPTERS, outcomes=OUTCOMES, verdicts=VERDICTS, few=_FEW_PARTS
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Figure):
        return value.plotly()
    if is_dataclass(value):
        value = {one.name: getattr(value, one.name) for one in fields(value)}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


def _interval(ends: tuple[float, float], scale: Scale) -> str:
    low, high = (
        {"share": f"{100 * end:.1f}", "rating": f"{end:.2f}", "length": f"{end:,.0f}"}[scale]
        for end in ends
    )
    return f"{low}–{high}"


def _difference(value: float, scale: Scale) -> str:
    return f"{100 * value:+.2f}" if scale == "share" else f"{value:+.2f}"


def _mark(value: float, scale: Scale) -> str:
    """What a single item was worth."""
    if scale == "share" and value in (0, 1):
        return "✓" if value else "✗"
    return shown(value, scale)


def _place(value: float, scale: Scale) -> str:
    """Where a value lies on a bar from 0 to the best possible, in per cent."""
    most = 10 if scale == "rating" else 1
    return f"{100 * min(max(value / most, 0), 1):.1f}"


def _text(value: str) -> str:
    """What a model wrote, without signs that would disturb the page, and not endless."""
    return pages.legible(value[: _LONGEST_TEXT + 1].strip(), _LONGEST_TEXT)


def _told(value: Any) -> str:
    """A setting, nested or not."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_told(inner)}" for name, inner in value.items())
    return str(value)


def _drawn(figure: Figure) -> Markup:
    """A figure as markup; its labels were escaped when it was drawn."""
    return Markup(figure.svg())  # noqa: S704


def _fenced(value: str) -> str:
    """A text in a code block that no run of backticks in it can end."""
    text = _text(value)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
