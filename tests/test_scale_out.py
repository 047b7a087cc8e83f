"""docs/scale-out.md says what follows from its figures, which come from pages that there are."""

import runpy
from typing import Any

import pytest

from support import ROOT

SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "benchmarks/scale_out.py"))
PAGE = (ROOT / "docs/scale-out.md").read_text("utf-8")


@pytest.mark.parametrize("name", SCRIPT["tables"]())
def test_every_table_follows_from_the_figures(name: str) -> None:
    assert f"<!-- {name} -->\n\n{SCRIPT['tables']()[name]}\n" in PAGE


def test_every_figure_that_was_measured_names_a_page_of_this_project() -> None:
    for figure in SCRIPT["MEASURED"].values():
        assert (ROOT / figure.source).is_file(), figure


def test_what_streams_grows_with_the_corpus_and_pairs_with_its_square() -> None:
    small, large = (SCRIPT["lines"](number) for number in (1_000_000, 10_000_000))
    ingest, meaning = (
        [line.time for line in (*small, *large) if line.part == part]
        for part in ("ingest", "dedup by meaning")
    )
    hours = [float(time.split()[0]) for time in ingest]
    assert hours[1] == pytest.approx(10 * hours[0], rel=0.1)
    pairs = [time.split("pairs ")[1].removesuffix(" of two cores") for time in meaning]
    assert [unit for _, unit in map(str.split, pairs)] == ["h", "h"]
    found = [float(time.split()[0]) for time in pairs]
    assert found[1] == pytest.approx(100 * found[0], rel=0.1)
