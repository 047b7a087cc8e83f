"""The evaluation report: put together once, then a web page, Markdown and JSON."""

from kyara_kedro.evaluation.report.building import report_content
from kyara_kedro.evaluation.report.content import Report, ReportContext
from kyara_kedro.evaluation.report.rendering import (
    evaluation_markdown,
    evaluation_report,
    evaluation_summary,
)

__all__ = [
    "Report",
    "ReportContext",
    "evaluation_markdown",
    "evaluation_report",
    "evaluation_summary",
    "report_content",
]
