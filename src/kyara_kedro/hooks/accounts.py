"""What each node asked its teachers, what came of it, and what an accepted record cost."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline.node import Node

from kyara_kedro.datasets.earlier import EarlierJSONDataset
from kyara_kedro.datasets.table import TableDataset
from kyara_kedro.files import written_whole
from kyara_kedro.teachers.accounts import Tally
from kyara_kedro.teachers.base import Teacher

logger = logging.getLogger("kyara_kedro")
ENTRY = "teacher_accounts"
"""The catalog's name for the file."""
FILE = Path("data/08_reporting/teacher_accounts.json")
"""Where it is when the catalog does not say."""
ACCEPTED = {
    "synthetic_conversations": "synthesize",
    "refined_conversations": "curate",
    "rlaif_preferences": "preference",
    "sppo_preferences": "preference",
    "judgements": "evaluate",
    "stage_verdicts": "evaluate",
}
"""Tables of what a pipeline has paid teachers for, and hands on."""


class AccountHooks:
    """Keeps the accounts of the teachers by node, as a line in the log and in one JSON file.

    The file holds the last run of every node under ``nodes``: rows of teacher and task with the
    requests by outcome, the classes of failures, sends, tokens and cost, and what a record that the
    node let pass cost, what was rejected and tried again included. Under ``accepted`` are the rows
    of what each pipeline hands on.
    """

    def __init__(self) -> None:
        self._file: Path | None = None  # in a process that only executes nodes
        self._catalog: DataCatalog | None = None
        self._accepted: dict[str, dict[str, int]] = {}
        self._before: dict[str, dict[tuple[str, str], dict[str, Tally]]] = {}
        self._nodes: dict[str, list[dict[str, Any]]] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note where the project is."""
        self._file = Path(context.project_path) / FILE

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Keep the catalog, which knows the files of streamed tables and where accounts are."""
        self._catalog = catalog
        entry = catalog.get(ENTRY)
        if isinstance(entry, EarlierJSONDataset):
            self._file = entry.path

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Begin anew: an earlier run of this process has been written."""
        self._accepted, self._nodes = {}, {}

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Count what a pipeline hands on."""
        if dataset_name not in ACCEPTED:
            return
        table = self._catalog.get(dataset_name) if self._catalog else None
        if isinstance(data, pl.DataFrame):
            rows = data.height
        elif isinstance(table, TableDataset):
            rows = table.shape()[0]
        else:
            return
        self._accepted.setdefault(ACCEPTED[dataset_name], {})[dataset_name] = rows
        self._write()

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
            self.take_over({"nodes": {node.name: rows}, "accepted": {}})

    def hand_over(self) -> Mapping[str, Any]:
        """Give the accounts of the nodes of this process."""
        given = {"nodes": self._nodes, "accepted": self._accepted}
        self._nodes, self._accepted = {}, {}
        return given

    def take_over(self, facts: Mapping[str, Any]) -> None:
        """Add accounts of nodes, and write the file."""
        self._nodes |= facts["nodes"]
        for pipeline, found in facts["accepted"].items():
            self._accepted.setdefault(pipeline, {}).update(found)
        if facts["nodes"] or facts["accepted"]:
            self._write()

    @property
    def costs(self) -> dict[str, float]:
        """What each node of the run has cost."""
        return {node: sum(row["cost"] for row in rows) for node, rows in self._nodes.items()}

    def _write(self) -> None:
        if self._file is None:
            return
        known = known_accounts(self._file)
        tables = known["accepted"]
        for pipeline, found in self._accepted.items():
            tables[pipeline] = tables.get(pipeline, {}) | found
        accounts = {"nodes": known["nodes"] | self._nodes, "accepted": tables}
        text = json.dumps(accounts, ensure_ascii=False, indent=1, sort_keys=True)
        with written_whole(self._file) as part:
            part.write_text(text, "utf-8")


def known_accounts(file: Path) -> dict[str, dict[str, Any]]:
    """The accounts of earlier runs; none where the file is missing or not of this form."""
    try:
        found = json.loads(file.read_text("utf-8"))
        return {"nodes": dict(found["nodes"]), "accepted": dict(found["accepted"])}
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return {"nodes": {}, "accepted": {}}


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
        "failed": tally.asked - tally.statuses["ok"],
        "cached": tally.cached,
        "asked_again": tally.asked_again,
        "sends": tally.attempts,
        "tokens": tally.tokens,
        "prompt_tokens": tally.prompt,
        "cached_tokens": tally.from_cache,
        "completion_tokens": tally.completion,
        "cost": tally.cost,
        "worth": tally.worth,
        "records": accepted,
        "cost_per_record": tally.worth / accepted if accepted else None,
    }


def _told(task: str, tally: Tally) -> str:
    """One task in a few words."""
    parts = [f"{task} {tally.statuses['ok']:,} of {tally.asked:,} ok"]
    if tally.cached:
        parts.append(f"{tally.cached:,} from the ledger")
    parts += [f"{fault} {count:,}" for fault, count in sorted(tally.faults.items())]
    parts.append(f"{tally.attempts:,} sends, {tally.tokens:,} tokens")
    return ", ".join(parts)
