"""From the review page in a browser to the corpus of the next run, and again."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.audit import Tables
from tests.faults.conftest import small_project

from browser import CONTROL, SHIFT, browser

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


def newest(project: Path, name: str) -> pl.DataFrame:
    """The last version of a table."""
    found = (project / "data").glob(f"*/{name}.parquet/*/{name}.parquet")
    return pl.read_parquet(max(found))


@pytest.mark.slow
def test_what_is_decided_on_the_page_overrides_the_next_run(tmp_path: Path) -> None:
    project = small_project(tmp_path / "project")
    (project / "downloads").mkdir()
    with browser(tmp_path / "profile") as page:
        run(project, "run", "--pipelines=ingest,synthesize,dedup,curate")
        before = Tables(project / "data")["reviewed_conversations"]
        page.open(project / "data/08_reporting/review.html", project / "downloads")
        out, back = (
            page.js(
                f"RECORDS.filter((one) => (one.reason === null) === {kind}).map((one) => one.id)"
            )
            for kind in ("true", "false")
        )
        rejected, accepted, edited = out[0], back[0], back[1]
        page.js(f"go(PLACE.get('{accepted}'))")
        page.press("a")
        page.js(f"go(PLACE.get('{edited}'))")
        page.press("e")
        page.js("document.activeElement.select()")
        page.write("改寫過的答案。")
        page.press("Enter", CONTROL)
        page.js(f"go(PLACE.get('{rejected}'))")
        page.press("r")
        page.write("答非所問")
        page.press("Enter")
        page.wait("decisions.size === 3")
        download(page, project)

        run(project, "run", "--pipeline=curate")
        refined, dropped = (
            newest(project, "refined_conversations"),
            Tables(project / "data")["curate_drops"],
        )
        assert accepted in refined["id"]
        new = refined.filter(pl.col("parents").list.contains(edited)).row(0, named=True)
        assert new["messages"][-1]["content"] == "改寫過的答案。"
        assert edited not in {*refined["id"], *dropped["record_id"]}
        reasons = {row["record_id"]: row for row in dropped.iter_rows(named=True)}
        assert reasons[rejected]["reason"] == "rejected_by_reviewer"
        assert "答非所問" in reasons[rejected]["detail"]
        assert refined.height + dropped.height == before.height
        assert newest(project, "review_decisions")["status"].to_list() == ["applies"] * 3

        run(project, "review", f"--id={new['id']}")
        page.go(project / "data/08_reporting/review.html")
        assert page.js("RECORDS[0].earlier.decision") == "edit"
        page.press("R", SHIFT)
        page.wait("decisions.size")
        download(page, project)
        run(project, "run", "--pipeline=curate")
        dropped = Tables(project / "data")["curate_drops"]
        assert new["id"] in dropped.filter(reason="rejected_by_reviewer")["record_id"]
        statuses = newest(project, "review_decisions")["status"]
        assert sorted(statuses) == [*["applies"] * 3, "followed"]
        assert page.console == []
