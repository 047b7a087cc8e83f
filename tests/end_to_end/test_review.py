"""From the review page in a browser to the corpus of the next run, and again."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.audit import Tables
from tests.faults.conftest import small_project

from browser import CONTROL, browser

from support import run_kedro

pytestmark = pytest.mark.end_to_end


def run(project: Path, *arguments: str) -> None:
    done = run_kedro(project, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def download(page: Any, project: Path) -> None:
    """Press the button and put the file where the next run looks for it."""
    page.js("document.getElementById('download').click()")
    page.wait("exported")
    for _ in range(1000):
        if found := list((project / "downloads").glob("*.jsonl")):
            target = project / "data" / "01_raw" / "decisions"
            target.mkdir(exist_ok=True)
            shutil.move(found[0], target / found[0].name)
            return
        page.js("1")
    raise AssertionError("nothing was downloaded")


def test_what_is_decided_on_the_page_overrides_the_next_run(tmp_path: Path) -> None:
    project, profile = small_project(tmp_path / "project"), tmp_path / "profile"
    (project / "downloads").mkdir()
    with browser(profile) as page:
        run(project, "run", "--pipelines=ingest,synthesize,dedup,curate")
        before = Tables(project / "data")["reviewed_conversations"]
        run(project, "review", "--which=dropped", "--sample=2")
        page.open(project / "data/08_reporting/review.html", project / "downloads")
        accepted, edited = page.js("RECORDS.map((record) => record.id)")
        page.press("a")
        page.press("e")
        page.js("document.activeElement.select()")
        page.write("改寫過的答案。")
        page.press("Enter", CONTROL)
        download(page, project)
        run(project, "review", "--which=selected", "--sample=1")
        page.go(project / "data/08_reporting/review.html")
        rejected = page.js("RECORDS[0].id")
        page.press("r")
        page.write("答非所問")
        page.press("Enter")
        page.wait("decisions.size")
        download(page, project)

        run(project, "run", "--pipeline=curate")
        tables = Tables(project / "data")
        refined, dropped = tables["refined_conversations"], tables["curate_drops"]
        assert accepted in refined["id"]
        new = refined.filter(pl.col("parents").list.contains(edited)).row(0, named=True)
        assert new["messages"][-1]["content"] == "改寫過的答案。"
        assert edited not in {*refined["id"], *dropped["record_id"]}
        reasons = {row["record_id"]: row for row in dropped.iter_rows(named=True)}
        assert reasons[rejected]["reason"] == "rejected_by_reviewer"
        assert "答非所問" in reasons[rejected]["detail"]
        assert refined.height + dropped.height == before.height
        assert set(tables["review_decisions"]["status"]) == {"applies"}

        run(project, "review", f"--id={new['id']}")
        page.go(project / "data/08_reporting/review.html")
        assert page.js("RECORDS[0].earlier.decision") == "edit"
        page.press("R")
        page.wait("decisions.size")
        download(page, project)
        run(project, "run", "--pipeline=curate")
        tables = Tables(project / "data")
        assert (
            new["id"] in tables["curate_drops"].filter(reason="rejected_by_reviewer")["record_id"]
        )
        assert sorted(tables["review_decisions"]["status"]) == [*["applies"] * 3, "followed"]
        assert page.console == []
