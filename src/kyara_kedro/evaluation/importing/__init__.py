"""Results that others have published: each format's reader, by its name."""

from collections.abc import Mapping

from kyara_kedro.evaluation.importing.base import Format, Imported, joined, rows_of

__all__ = ["FORMATS", "Format", "Imported", "joined", "rows_of"]

FORMATS: Mapping[str, Format] = {}
"""Every format by its name, as ``kedro score --format`` takes it."""
