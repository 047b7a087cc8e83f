"""The curate pipeline."""

from kyara_kedro.pipelines.curate.pipeline import create_pipeline

__all__ = ["create_pipeline"]
