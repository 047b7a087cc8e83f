"""What each node asked its teachers, what came of it, and what an accepted record cost."""

import json
import logging
from pathlib import Path
from typing import Any

import polars as pl
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

from kyara_kedro.datasets.atomic import written_whole
from kyara_kedro.teachers.accounts import Tally
from kyara_kedro.teachers.base import Teacher

logger = logging.getLogger("kyara_kedro")
FILE = Path("data/08_reporting/teacher_accounts.json")


class AccountHooks:
    """Keeps the accounts of the teachers by node, as a line in the log and in one JSON file.

    The file holds the last run of every node: rows of node, teacher and task with the requests by
    outcome, the classes of failures, sends, tokens and cost, and for each node and teacher the cost
    of a record that the node let pass, what was rejected and tried again included.
    """

    def __init__(self) -> None:
        self._folder = Path()
        self._before: dict[str, dict[tuple[str, str], dict[str, Tally]]] = {}
        self._nodes: dict[str, list[dict[str, Any]]] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note where the project is."""
        self._folder = Path(context.project_path)

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Remember how the accounts stood."""
        self._before[node.name] = {
            name: teacher.account.copy() for name, teacher in _teachers(inputs).items()
        }

    @hook_impl
    def on_node_error(self, node: Node, inputs: dict[str, Any]) -> None:
        """Tell what a node has asked that could not be finished, as at the end of a budget."""
        self.after_node_run(node, inputs, {})

    @hook_impl
    def after_node_run(self, node: Node, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Tell what the node has asked and what came of it."""
        before = self._before.pop(node.name)
        tables = (data.height for data in outputs.values() if isinstance(data, pl.DataFrame))
        accepted = next(tables, 0)
        rows = []
        for name, teacher in _teachers(inputs).items():
            since = teacher.account.since(before[name])
            rows += [_row(teacher, task, tally, accepted) for task, tally in since.items()]
            cost = sum(tally.cost for tally in since.values())
            if teacher.kind == "llm" and since:
                each = (
                    f", {cost / accepted:.4g} for each of {accepted:,} records" if accepted else ""
                )
                logger.info(
                    "%s: %s %s: %s; cost %.4g%s",
                    node.name,
                    teacher.role,
                    teacher.name,
                    "; ".join(_told(task, tally) for task, tally in since.items()),
                    cost,
                    each,
                )
        if rows:
            self._nodes[node.name] = rows
            self._write()

    @property
    def costs(self) -> dict[str, float]:
        """What each node of this process has cost."""
        return {node: sum(row["cost"] for row in rows) for node, rows in self._nodes.items()}

    def _write(self) -> None:
        file = self._folder / FILE
        known = json.loads(file.read_text("utf-8")) if file.exists() else {}
        text = json.dumps(known | self._nodes, ensure_ascii=False, indent=1, sort_keys=True)
        with written_whole(file) as part:
            part.write_text(text, "utf-8")


def _teachers(inputs: dict[str, Any]) -> dict[tuple[str, str], Teacher]:
    """The teachers among a node's inputs; the members of a team one by one."""
    return {
        (name, member): teacher
        for name, value in inputs.items()
        if isinstance(value, Teacher)
        for member, teacher in value.members.items()
    }


def _row(teacher: Teacher, task: str, tally: Tally, accepted: int) -> dict[str, Any]:
    return {
        "role": teacher.role,
        "teacher": teacher.name,
        "teacher_kind": teacher.kind,
        "task": task,
        "requests": tally.asked,
        "statuses": dict(tally.statuses),
        "faults": dict(tally.faults),
        "cached": tally.cached,
        "sends": tally.attempts,
        "tokens": tally.tokens,
        "cost": tally.cost,
        "records": accepted,
        "cost_per_record": tally.cost / accepted if accepted else None,
    }


def _told(task: str, tally: Tally) -> str:
    """One task in a few words."""
    parts = [f"{task} {tally.statuses['ok']:,} of {tally.asked:,} ok"]
    if tally.cached:
        parts.append(f"{tally.cached:,} from the ledger")
    parts += [f"{fault} {count:,}" for fault, count in sorted(tally.faults.items())]
    parts.append(f"{tally.attempts:,} sends, {tally.tokens:,} tokens")
    return ", ".join(parts)
