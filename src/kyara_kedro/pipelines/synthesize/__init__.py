"""The synthesize pipeline."""

from kyara_kedro.pipelines.synthesize.pipeline import create_pipeline

__all__ = ["create_pipeline"]
