"""The preference pipeline."""

from kyara_kedro.pipelines.preference.pipeline import create_pipeline

__all__ = ["create_pipeline"]
