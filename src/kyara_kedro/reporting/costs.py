"""What teachers have cost: by pipeline, teacher and task, and for each record that was accepted."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kyara_kedro.reporting.charts import Figure, bar_chart

Accounts = Mapping[str, Any]
"""``nodes``: what was asked, by node; ``accepted``: rows of the tables that a pipeline hands on, by
pipeline and table. See ``kyara_kedro.hooks.accounts``."""


class Cost(NamedTuple):
    """What one task of one teacher has cost in a pipeline.

    Attributes:
        pipeline: Name of the pipeline.
        teacher: Name on the records.
        role: What it does.
        task: What was asked; empty for the sum of all.
        requests: How many requests were made.
        cached: How many the ledger has answered.
        asked_again: First replies that were not in the task's form.
        failed: Requests without a usable reply.
        tokens: Of what was sent and received in the last run.
        cost: In the last run, in the currency of the teacher's prices.
        worth: What all replies cost when they were paid for, in whatever run.
        accepted: Records that the pipeline hands on.
    """

    pipeline: str
    teacher: str
    role: str
    task: str
    requests: int
    cached: int
    asked_again: int
    failed: int
    tokens: int
    cost: float
    worth: float
    accepted: int

    @property
    def for_each(self) -> float | None:
        """Worth of a record that the pipeline hands on, rejected and repeated calls included."""
        return self.worth / self.accepted if self.accepted else None


_SUMS = ("requests", "cached", "asked_again", "failed", "tokens", "cost", "worth")


def costs(accounts: Accounts, *, by_task: bool = True) -> list[Cost]:
    """The costs of all pipelines.

    Args:
        accounts: As the hook keeps them.
        by_task: One row for each task of a teacher, or one for the teacher.
    """
    sums: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    for node, rows in accounts.get("nodes", {}).items():
        for row in rows:
            task = row["task"] if by_task else ""
            key = node.partition(".")[0], row["teacher"], row["role"], task
            there = sums.setdefault(key, dict.fromkeys(_SUMS, 0))
            for name in _SUMS:
                there[name] += row[name]
    accepted = {name: sum(found.values()) for name, found in accounts.get("accepted", {}).items()}
    return [Cost(*key, **there, accepted=accepted.get(key[0], 0)) for key, there in sums.items()]


def cost_figure(accounts: Accounts) -> Figure:
    """Cost of a record that was accepted, a bar for each teacher of each pipeline.

    Where nothing has a price, the requests for each record are drawn instead.
    """
    found = [row for row in costs(accounts, by_task=False) if row.accepted]
    priced = any(row.worth for row in found)
    if priced:
        title, unit = "每筆留下的資料的費用 Cost of an accepted record", "費用 cost"
    else:
        title = (
            "每筆留下的資料的請求數（教師沒有價格）Requests for an accepted record, free teachers"
        )
        unit = "請求數 requests"
    return bar_chart(
        title,
        [f"{row.pipeline}: {row.role} {row.teacher}" for row in found],
        {unit: [(row.worth if priced else row.requests) / row.accepted for row in found]},
        x_label=unit,
    )


def told(rows: Sequence[Cost]) -> list[str]:
    """The costs as lines for a terminal, with the sum at the end."""
    form = "{:<12}{:<26}{:<20}{:>9}{:>8}{:>8}{:>8}{:>13}{:>11}{:>11}{:>9}{:>12}"
    lines = [
        form.format(
            *("pipeline", "teacher", "task", "requests", "cached", "again", "failed", "tokens"),
            *("cost", "worth", "records", "for each"),
        )
    ]
    lines += [
        form.format(
            *(row.pipeline, row.teacher[:25], row.task or "-"),
            *(f"{number:,}" for number in row[4:9]),
            *(f"{row.cost:.4f}", f"{row.worth:.4f}", f"{row.accepted:,}"),
            "-" if row.for_each is None else f"{row.for_each:.6f}",
        )
        for row in rows
    ]
    paid, worth = sum(row.cost for row in rows), sum(row.worth for row in rows)
    tokens, requests = sum(row.tokens for row in rows), sum(row.requests for row in rows)
    lines.append(
        form.format(
            *("in all", "", "", f"{requests:,}", "", "", "", f"{tokens:,}"),
            *(f"{paid:.4f}", f"{worth:.4f}", "", ""),
        )
    )
    return [line.rstrip() for line in lines]
