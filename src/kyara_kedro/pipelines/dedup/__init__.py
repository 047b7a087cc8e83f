"""The dedup pipeline."""

from kyara_kedro.pipelines.dedup.pipeline import create_pipeline

__all__ = ["create_pipeline"]
