"""What MLflow has, as tests compare it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kyara_kedro.tracking.target import Tracking


class Seen(NamedTuple):
    """A run in MLflow."""

    id: str
    status: str
    start: int
    end: int | None
    tags: dict[str, str]
    params: dict[str, str]
    points: dict[str, list[tuple[int, float, int]]]
    inputs: list[Any]
    files: list[str]


def runs(tracking: Tracking) -> dict[str, Seen]:
    """All runs of the experiment, by name; each name may be there once."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking.uri)
    experiment = client.get_experiment_by_name(tracking.experiment)
    found: dict[str, Seen] = {}
    for run in client.search_runs([experiment.experiment_id]) if experiment else ():
        name = run.info.run_name
        assert name not in found, f"two runs '{name}'"
        found[name] = Seen(
            run.info.run_id,
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            run.data.tags,
            run.data.params,
            {
                key: [
                    (point.step, point.value, point.timestamp)
                    for point in client.get_metric_history(run.info.run_id, key)
                ]
                for key in run.data.metrics
            },
            run.inputs.dataset_inputs,
            list(files(client, run.info.run_id)),
        )
    return found


def files(client: Any, run_id: str, folder: str | None = None) -> Iterator[str]:
    """The paths of a run's files."""
    for file in client.list_artifacts(run_id, folder):
        if file.is_dir:
            yield from files(client, run_id, file.path)
        else:
            yield file.path


def steps(seen: Seen, metric: str) -> Sequence[int]:
    """The steps of a metric's points in the order in which MLflow has them."""
    return [step for step, _, _ in seen.points[metric]]


def left(folder: Path) -> list[str]:
    """Keys of the runs that wait in a spool."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir())
