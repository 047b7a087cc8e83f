"""The seven pipelines, and all of them together as the default."""

from importlib import import_module

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from kyara_kedro.errors import UserError

PIPELINES = ("ingest", "synthesize", "dedup", "curate", "preference", "train", "evaluate")


def register_pipelines() -> dict[str, Pipeline]:
    """Find the pipelines by their folders; Kedro asks for some of them or for all.

    Raises:
        UserError: there is no pipeline of that name.
    """
    try:
        found: dict[str, Pipeline] = find_pipelines(raise_errors=True)
    except ImportError as error:
        if error.__cause__ is not None:  # a pipeline that is there but cannot be imported
            raise
        raise UserError(f"no such pipeline: there are {', '.join(PIPELINES)}") from error
    ordered = {name: found[name] for name in PIPELINES if name in found}
    return ordered | {"__default__": sum(ordered.values(), Pipeline([]))}


def maker_of(dataset: str) -> str | None:
    """The command that makes a dataset; None for one that comes from outside."""
    for name in PIPELINES:
        pipeline: Pipeline = import_module(f"kyara_kedro.pipelines.{name}").create_pipeline()
        for node in pipeline.nodes:
            if dataset in node.outputs:
                part = "" if node.namespace == name else f" --namespaces={node.namespace}"
                return f"kedro run --pipelines={name}{part}"
    return None
