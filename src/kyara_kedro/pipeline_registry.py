"""The seven pipelines, and all of them together as the default."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

PIPELINES = ("ingest", "synthesize", "dedup", "curate", "preference", "train", "evaluate")


def register_pipelines() -> dict[str, Pipeline]:
    """Find the pipelines by their folders; Kedro asks for some of them or for all."""
    found: dict[str, Pipeline] = find_pipelines(raise_errors=True)
    ordered = {name: found[name] for name in PIPELINES if name in found}
    return ordered | {"__default__": sum(ordered.values(), Pipeline([]))}
