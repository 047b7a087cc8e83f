"""What nodes need to track what they do."""

from typing import Any

from kedro.io import AbstractDataset

from kyara_kedro.tracking.target import Tracking


class TrackingDataset(AbstractDataset[Tracking, Tracking | None]):
    """Where the present run is tracked; None where it is not.

    The tracking hook saves it when a run begins.

    Args:
        metadata: Free entries, such as kedro-viz's layer.
    """

    def __init__(self, *, metadata: dict[str, Any] | None = None) -> None:
        self._tracking: Tracking | None = None
        self.metadata = metadata

    def load(self) -> Tracking | None:
        """Give it to a node."""
        return self._tracking

    def save(self, data: Tracking) -> None:
        """Take it from the hook."""
        self._tracking = data

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"tracked": self._tracking is not None}
