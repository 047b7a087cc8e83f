"""Documents that people read, and small structured results."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kedro_datasets._typing import HTMLPreview, JSONPreview, PlotlyPreview

from kyara_kedro.datasets import previews
from kyara_kedro.datasets.atomic import AtomicDataset
from kyara_kedro.reporting.charts import Figure, Series


class TextDataset(AtomicDataset[str, str]):
    """A text file in UTF-8: Markdown cards and pages."""

    def write(self, path: Path, data: str) -> None:
        """Write UTF-8."""
        path.write_text(data, encoding="utf-8")

    def read(self, path: Path) -> str:
        """Read UTF-8."""
        return path.read_text(encoding="utf-8")

    def preview(self) -> HTMLPreview:
        """Give the first lines, for kedro-viz."""
        return previews.markdown(self.load())


class HTMLDataset(TextDataset):
    """A self-contained web page, shown inside kedro-viz."""

    def preview(self) -> HTMLPreview:
        """Give the page itself."""
        return HTMLPreview(self.load())


class JSONDataset(AtomicDataset[Any, Any]):
    """A small JSON document with Chinese text left readable."""

    def write(self, path: Path, data: Any) -> None:
        """Write indented JSON with sorted keys."""
        text = json.dumps(data, ensure_ascii=False, indent=2, sort_keys=True)
        path.write_text(text + "\n", encoding="utf-8")

    def read(self, path: Path) -> Any:
        """Parse the document."""
        return json.loads(path.read_text(encoding="utf-8"))

    def preview(self) -> JSONPreview:
        """Give the document, without the rest of what is long in it."""
        return previews.document(self.load())


class FigureDataset(AtomicDataset[Figure, Figure]):
    """A chart as a Plotly document for kedro-viz, with an SVG of the same name beside it.

    The document's ``layout.meta`` holds the figure itself, which is what is loaded.
    """

    def write(self, path: Path, data: Figure) -> None:
        """Write the Plotly document and its SVG sibling."""
        with self.written(self._get_save_path().with_suffix(".svg")) as part:
            part.write_text(data.svg(), encoding="utf-8")
        document = data.plotly()
        document["layout"]["meta"] = asdict(data)
        path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")

    def read(self, path: Path) -> Figure:
        """Give the figure."""
        spec = json.loads(path.read_text(encoding="utf-8"))["layout"]["meta"]
        series = tuple(
            Series(s["name"], *(tuple(s[key]) for key in ("x", "y", "low", "high")))
            for s in spec["series"]
        )
        mark = spec["mark"] and tuple(spec["mark"])
        return Figure(**(spec | {"series": series, "mark": mark}))

    def preview(self) -> PlotlyPreview:
        """Give the Plotly document."""
        return PlotlyPreview(json.loads(self.local().read_text(encoding="utf-8")))
