"""What a stage is about to do, and what is wrong with it, told before the first step."""

from kyara_kedro.training.preflight.flight import Flight
from kyara_kedro.training.preflight.inspection import preflight
from kyara_kedro.training.preflight.report import Finding, Preflight, PreflightError

__all__ = ["Finding", "Flight", "Preflight", "PreflightError", "preflight"]
