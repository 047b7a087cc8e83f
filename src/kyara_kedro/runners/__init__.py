"""Runners that pass over what is up to date."""

from typing import Any

from kyara_kedro.runners.stale import SequentialRunner, ThreadRunner

__all__ = ["RayRunner", "SequentialRunner", "ThreadRunner"]


def __getattr__(name: str) -> Any:
    """Import the Ray runner when it is asked for."""
    if name != "RayRunner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kyara_kedro.runners.ray import RayRunner

    return RayRunner
