"""The runs of a project: what was asked for, what became of it, and which are pinned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from kyara_kedro.lineage.manifest import RunManifest
from kyara_kedro.reporting.terminal import aligned, clipped

_PINNED = ".pinned"
_ASKED_WIDTH = 44
_SHORT = {
    "pipeline_names": "",
    "tags": "tags ",
    "node_names": "nodes ",
    "from_nodes": "from ",
    "to_nodes": "to ",
    "from_inputs": "from ",
    "to_outputs": "to ",
    "namespaces": "namespaces ",
}
_HEAD = (
    *("執行 run", "狀態 status", "範圍 asked for", "跑了 ran", "略過 passed over", "秒 seconds"),
    *("花費 cost", "保留 pinned"),
)


def pin(folder: Path, run_id: str, pinned: bool = True) -> None:
    """Mark a run as one whose results are kept, or take the mark away.

    Args:
        folder: Where manifests are.
        run_id: The run.
        pinned: Whether it is one.
    """
    marker = folder / f"{run_id}{_PINNED}"
    if pinned:
        marker.touch()
    else:
        marker.unlink(missing_ok=True)


def pins(folder: Path) -> set[str]:
    """Ids of the runs that are pinned."""
    return {marker.name.removesuffix(_PINNED) for marker in folder.glob(f"*{_PINNED}")}


def runs_text(runs: Iterable[RunManifest], pinned: set[str]) -> str:
    """A table of runs, a line each.

    Args:
        runs: The runs, in the order of the lines.
        pinned: Ids of those that are pinned.
    """
    return aligned([_HEAD, *(_line(run, run.run_id in pinned) for run in runs)])


def asked(run: RunManifest) -> str:
    """What a run was asked for, in a few words."""
    parts = [
        f"{word}{', '.join(map(str, wish))}"
        for name, word in _SHORT.items()
        if (wish := run.selection.get(name))
    ]
    return "; ".join(parts) or "everything"


def seconds(run: RunManifest) -> float:
    """How long a run took; until its last node if it told of no end."""
    if run.ended_at is None:
        return sum(node.seconds for node in run.nodes.values())
    return (
        datetime.fromisoformat(run.ended_at) - datetime.fromisoformat(run.started_at)
    ).total_seconds()


def _line(run: RunManifest, pinned: bool) -> Sequence[str]:
    states = Counter(node.state for node in run.nodes.values())
    cost = sum(run.costs.values())
    return (
        run.run_id,
        run.status,
        clipped(asked(run), _ASKED_WIDTH),
        str(states["ran"]),
        str(states["skipped"]),
        f"{seconds(run):,.0f}",
        f"{cost:.4g}" if cost else "0",
        "pinned" if pinned else "",
    )
