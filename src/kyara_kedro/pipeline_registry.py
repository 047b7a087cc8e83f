"""The seven pipelines, and all of them together as the default."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

PIPELINES = ("ingest", "synthesize", "dedup", "curate", "preference", "train", "evaluate")


def register_pipelines() -> dict[str, Pipeline]:
    """Find the pipelines by their folders."""
    pipelines: dict[str, Pipeline] = find_pipelines(raise_errors=True)
    pipelines["__default__"] = sum((pipelines[name] for name in PIPELINES), Pipeline([]))
    return pipelines
