"""A damaged or wrong file, a full disk, a misspelt name: one line that says what to do."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from kyara_kedro.knowledge.store import KnowledgeOptions, KnowledgeStore

from support import run_kedro

from .conftest import small_project

pytestmark = pytest.mark.faults

PERSONAS = "data/02_intermediate/personas.parquet"
MATH = ("run", "--nodes=synthesize.write_math_conversations")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project in which `ingest` has run."""
    project = small_project(tmp_path_factory.mktemp("ingested"))
    done = run_kedro(project, "run", "--pipelines=ingest")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def personas(ingested: Path) -> Path:
    """The stored personas, as they were before each test."""
    path = ingested / PERSONAS
    kept = path.with_suffix(".kept")
    if not kept.exists():
        shutil.copy(path, kept)
    shutil.copy(kept, path)
    return path


def error(project: Path, *command: str) -> str:
    """What a failing command says at its end."""
    done = run_kedro(project, *command)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def blank(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(text=pl.when(pl.row_index() == 2).then(pl.lit(" ")).otherwise("text"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (blank, "persona: column 'text', row id {row}: must not be blank (1 row breaks this rule)"),
        (lambda table: table.drop("text"), "persona: the table lacks ['text']"),
        (
            lambda table: table.with_columns(source=pl.lit(1)),
            "persona: column 'source' must be String, but is Int32",
        ),
    ],
    ids=["value", "column", "type"],
)
def test_a_table_that_breaks_its_contract_is_named_with_its_maker(
    ingested: Path, personas: Path, change: Callable[[pl.DataFrame], pl.DataFrame], told: str
) -> None:
    table = pl.read_parquet(personas)
    change(table).write_parquet(personas)
    line = error(ingested, *MATH)
    assert line.startswith(f"Error: personas: {told.format(row=table['id'][2])}")
    assert line.endswith("; run `kedro run --pipelines=ingest` again")


@pytest.mark.parametrize("size", [0, 400])
def test_a_table_that_was_cut_short_is_named(ingested: Path, personas: Path, size: int) -> None:
    personas.write_bytes(personas.read_bytes()[:size])
    line = error(ingested, *MATH)
    assert PERSONAS in line
    assert line.endswith(": run the pipeline that makes it again")


FULL = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
runpy.run_module("kedro", run_name="__main__")
"""


def on_a_full_disk(project: Path, *command: str) -> str:
    """What `kedro` says where writes beyond a file size fail in the middle."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, *command],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_full_disk_leaves_the_old_tables_and_the_next_run_succeeds(
    ingested: Path, personas: Path
) -> None:
    (ingested / "conf/off").mkdir()
    (ingested / "conf/off/mlflow.yml").write_text("enabled: false\n", "utf-8")
    command = ("run", "--pipelines=ingest", "--env=off")
    before = tables(ingested)
    line = on_a_full_disk(ingested, *command)
    assert line.startswith("Error: ")
    assert "open_conversations.parquet" in line
    assert "File too large" in line
    assert tables(ingested) == before
    assert list(ingested.glob("data/**/*.part")) == []
    done = run_kedro(ingested, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables(ingested) == before


def tables(project: Path) -> dict[str, bytes]:
    stored = (project / "data" / "02_intermediate").glob("*.parquet")
    return {path.name: path.read_bytes() for path in stored}


def test_a_full_disk_leaves_the_old_knowledge_base(ingested: Path) -> None:
    place = ingested / "data" / "02_intermediate" / "knowledge_base"
    command = (
        *("run", "--nodes=ingest.chunk_documents,ingest.index_passages"),
        *("--env=off", "--params", "ingest.passage_chars=150"),
    )
    before = count(place)
    line = on_a_full_disk(ingested, *command)
    assert "knowledge_base" in line
    assert count(place) == before
    done = run_kedro(ingested, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert count(place) > before
    assert [path.name for path in place.glob("building.*")] == []


def count(place: Path) -> int:
    with KnowledgeStore(KnowledgeOptions(path=place)) as store:
        return store.count()
