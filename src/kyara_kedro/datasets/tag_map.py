"""The tag map: a table that people edit."""

from pathlib import Path

import polars as pl
from kedro_datasets._typing import TablePreview

from kyara_kedro.datasets import previews
from kyara_kedro.datasets.atomic import AtomicDataset
from kyara_kedro.quality.tag_map import read_tag_map, write_tag_map


class TagMapDataset(AtomicDataset[pl.DataFrame, pl.DataFrame]):
    """The map from raw to final tags in one CSV file, see `kyara_kedro.quality.tag_map`."""

    def write(self, path: Path, data: pl.DataFrame) -> None:
        """Write CSV that spreadsheets open."""
        path.write_bytes(write_tag_map(data))

    def load(self) -> pl.DataFrame:
        """Read the file, with what a person has edited.

        Raises:
            UserError: it was edited so that it is no map any more.
        """
        return self.read(self.local())

    def read(self, path: Path) -> pl.DataFrame:
        """Read the file."""
        return read_tag_map(path.read_bytes(), self.place(self._get_load_path()))

    def preview(self, nrows: int = 8) -> TablePreview:
        """Give the first rows, for kedro-viz."""
        rows = self.load().head(nrows)
        return previews.table(rows.columns, rows.rows())
