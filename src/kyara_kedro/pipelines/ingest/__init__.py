"""The ingest pipeline."""

from kyara_kedro.pipelines.ingest.pipeline import create_pipeline

__all__ = ["create_pipeline"]
