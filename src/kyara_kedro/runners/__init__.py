"""Runners: how a pipeline's nodes are executed."""

from typing import Any

__all__ = ["RayRunner"]


def __getattr__(name: str) -> Any:
    """Import the Ray runner when it is asked for."""
    if name != "RayRunner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kyara_kedro.runners.ray import RayRunner

    return RayRunner
