"""The train pipeline."""

from kyara_kedro.pipelines.train.pipeline import create_pipeline

__all__ = ["create_pipeline"]
